/*
 * One program, once: written into a fresh folder, compiled where its language needs that, run, and taken away again
 * (SandboxFusion's /run_code, contracts/jupyter.md 3.5).
 *
 *   WRITE → COMPILE → RUN → FETCH → answer → REMOVE
 *
 * Compiling and running are commands of execd/exec: own process tree, timeout by SIGKILL to all of it, receipt. What a
 * step leaves behind is killed with it, unless it was to be kept. Output is kept from its beginning up to RUNCODE_OUTPUT_MAX bytes per stream, and
 * how much was left out is told. The folder goes in every case, also when the asker has left. Knows nothing of HTTP.
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/exec/command.h"
#include "execd/runcode/languages.h"
#include "proto/base/str.h"

struct work_pool;
struct runcode;
struct runcode_manager;

#define RUNCODE_OUTPUT_MAX (1U << 20) /* bytes of each stream of each step */
#define RUNCODE_RUNS_MAX 64           /* at once */
#define RUNCODE_FILES_MAX 1000
#define RUNCODE_FETCH_MAX 100

struct runcode_request { /* everything is copied */
    const char *language, *code;
    const char *input; /* for the standard input of the program; NULL = none */
    int64_t compile_ms, run_ms;
    uint64_t memory_bytes; /* of address space for the run; 0 = no limit */
    json_t *files;         /* object: path → base64 text, or null for none; may be NULL */
    bool keep_processes;   /* what the program leaves behind goes on */
    struct jstrings fetch; /* paths whose content is wanted afterwards */
};

enum runcode_end { RUNCODE_NOT_RUN, RUNCODE_FINISHED, RUNCODE_TIMEOUT, RUNCODE_ERROR };

struct runcode_step {
    enum runcode_end end; /* ERROR: execd could not run it, or ended it */
    double seconds;
    int code;                /* FINISHED: exit code, or the negative number of the signal */
    struct strbuf output[2]; /* stdout, stderr */
    uint64_t dropped[2];     /* bytes beyond RUNCODE_OUTPUT_MAX */
    char error[160]; /* of ERROR; of FINISHED only where the code does not say enough; else "" */
};

struct runcode_file { /* in the order of the request; only what is there */
    const char *path;
    const char *base64;
};

struct runcode_result { /* borrowed for the callback */
    const struct runcode_step *compile, *run;
    const char
        *problem; /* the run did not take place, or a wish could not be fulfilled; NULL = none */
    const struct runcode_file *files;
    size_t n_files;
};

int runcode_manager_new(struct command_manager *commands, struct work_pool *pool,
                        struct event_base *base, struct runcode_manager **ret_manager) must_check;
void runcode_manager_free(
    struct runcode_manager *m); /* removes what folders are left; NULL is fine */

/* Checks and starts. What the sandbox lacks for the language is no error but a result with a `problem`. on_done is
 * posted once, unless the run is cancelled; err stands for what kept the request from being carried out. */
typedef void (*runcode_fn)(void *arg, const struct runcode_result *result, const struct err *err);
int runcode_start(struct runcode_manager *m, const struct runcode_request *request,
                  runcode_fn on_done, void *arg, struct runcode **ret_run,
                  struct err *err) must_check;
/* Nobody waits any more: ends it and cleans up. Not after on_done. */
void runcode_cancel(struct runcode *run);
