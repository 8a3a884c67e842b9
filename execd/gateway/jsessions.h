/*
 * Sessions of Jupyter clients: a document (path, name, type) and the kernel that it uses.
 *
 * In memory, as in Jupyter Server; a session whose kernel is gone is shown no more. Knows nothing of HTTP.
 * Thread rule: loop thread only. Source: contracts/jupyter.md 2.8.
 */
#pragma once

#include "execd/gateway/kernels.h"

struct jsessions;
struct jsession;

#define JSESSIONS_MAX 1000
#define JSESSION_TEXT_MAX 4096 /* bytes of path, name and type each */

struct jsessions *jsessions_new(struct code_manager *m); /* m is borrowed */
void jsessions_free(struct jsessions *s);                /* NULL is fine; kernels are left alone */

/* What is set of path, name and type; NULL = as it is ("" for a new one). */
struct jsession_facts {
    const char *path, *name, *type;
};
/* ERR_OVERLOADED at the limit. */
int jsessions_add(struct jsessions *s, const struct jsession_facts *facts, const char *kernel_id,
                  struct jsession **ret_session, struct err *err) must_check;
void jsession_change(struct jsession *session, const struct jsession_facts *facts,
                     const char *kernel_id);
void jsession_remove(struct jsessions *s, struct jsession *session);

struct jsession *jsessions_find(struct jsessions *s,
                                const char *id); /* also one without a kernel */
struct jsession *jsessions_find_path(struct jsessions *s, const char *path); /* with a kernel */
const char *jsession_id(const struct jsession *session);
const char *jsession_path(const struct jsession *session);
/* NULL when it is gone. */
struct code_context *jsession_kernel(const struct jsessions *s, const struct jsession *session);

/* New references; NULL: no memory. */
json_t *jsession_model(const struct jsessions *s,
                       const struct jsession *session); /* with a kernel */
json_t *jsessions_list(const struct jsessions *s);
