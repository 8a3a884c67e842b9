/*
 * The tools of ms-enclave (contracts/jupyter.md 3.4) as a table: each is one request to the execd of the sandbox, and
 * what its answer means. Pure. Thread rule: loop thread only.
 */
#pragma once

#include <jansson.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

#define TOOL_TIMEOUT_S 30       /* when the parameters name none */
#define TOOL_TIMEOUT_MAX_S 3600 /* and the longest that they may */

struct tool_request {
    const char *path;    /* of execd; constant */
    json_t *body;        /* new reference */
    int64_t timeout_s;   /* what execd is asked to keep */
    const char *subject; /* what it is about, for the answer: a path; may be NULL */
    const char *refusal; /* not NULL: nothing is asked, the tool answers this error itself */
    int operation;       /* of file_operation */
};

struct tool_outcome {
    const char *status; /* "success", "error", "timeout" */
    json_t *output;     /* new reference */
    json_t *error;      /* new reference; JSON null = none */
};

struct tool {
    const char *name, *description;
    const char *parameters; /* JSON schema */
    bool notebook;          /* only in sandboxes of type docker_notebook */
    /* Texts live in the arena. -EINVAL: the parameters are not valid. */
    int (*build)(const json_t *parameters, const char *working_dir, struct arena *arena,
                 struct tool_request *ret_request, struct err *err);
    /* From execd's answer with status 200. */
    void (*read)(struct slice body, const struct tool_request *request,
                 struct tool_outcome *ret_outcome);
};

extern const struct tool tools[];
extern const size_t n_tools;

const struct tool *tool_find(const char *name);
/* {"type": "function", "function": {...}}; new reference. */
json_t *tool_schema(const struct tool *tool);
/* New reference; NULL: something of the text was dropped, or no memory. */
json_t *tool_text_json(const struct strbuf *text);
/* status "error", no output; text may be any bytes. */
void tool_outcome_error(struct tool_outcome *ret_outcome, const char *status, const char *text);

/* program.c */
int tool_build_python(const json_t *parameters, const char *working_dir, struct arena *arena,
                      struct tool_request *ret_request, struct err *err) must_check;
int tool_build_shell(const json_t *parameters, const char *working_dir, struct arena *arena,
                     struct tool_request *ret_request, struct err *err) must_check;
int tool_build_file(const json_t *parameters, const char *working_dir, struct arena *arena,
                    struct tool_request *ret_request, struct err *err) must_check;
int tool_build_program(const json_t *parameters, const char *working_dir, struct arena *arena,
                       struct tool_request *ret_request, struct err *err) must_check;
void tool_read_program(struct slice body, const struct tool_request *request,
                       struct tool_outcome *ret_outcome);
void tool_read_file(struct slice body, const struct tool_request *request,
                    struct tool_outcome *ret_outcome);
/* notebook.c */
int tool_build_notebook(const json_t *parameters, const char *working_dir, struct arena *arena,
                        struct tool_request *ret_request, struct err *err) must_check;
void tool_read_notebook(struct slice body, const struct tool_request *request,
                        struct tool_outcome *ret_outcome);

/* Shared by the builders: parameters[key] as text, NULL when absent; -EINVAL with err for other types. */
int tool_text(const json_t *parameters, const char *key, bool required, const char **ret_text,
              struct err *err) must_check;
/* Seconds; *value stays when absent or null. */
int tool_seconds(const json_t *parameters, const char *key, int64_t *value,
                 struct err *err) must_check;
bool tool_text_is_blank(const char *text);
