/*
 * What requests that delete code contexts share: the answer comes when their processes are gone.
 *
 * A kernel that was killed and is not dead after CONTEXT_DELETE_WAIT_S is held by the system, on a file that does not
 * answer (hardening B17): the answer is an error then (ERR_RUNTIME_ERROR). The request may leave earlier; the contexts go
 * in any case. Thread rule: loop thread only.
 */
#pragma once

#include "execd/api/api.h"

#define CONTEXT_DELETE_WAIT_S 5

struct context_delete;

/* status: of the answer, which is empty. prefix: of an error; a constant. */
struct context_delete *context_delete_new(struct http_req *req, int status, const char *prefix);
void context_delete_add(struct context_delete *wait, struct code_context *ctx);
/* Once all are added, be it none. Frees itself. */
enum http_result context_delete_wait(struct context_delete *wait);
/* The same for a single one. */
enum http_result context_delete_one(struct http_req *req, struct code_context *ctx, int status,
                                    const char *prefix);
