/*
 * What requests about code contexts share: which one is meant, and waiting for its kernel.
 *
 * A request that waits lives in its own arena; its address is the key by which the wait is called off when the client
 * leaves. Thread rule: loop thread only.
 */
#pragma once

#include "execd/api/api.h"

/* By the path's contextId; NULL. */
struct code_context *context_request_find(struct http_req *req, struct api *api);
enum http_result context_request_not_found(struct http_req *req);
/* The error with words before it; "" for none. */
enum http_result context_request_fail(struct http_req *req, const char *prefix,
                                      const struct err *err);

struct context_request {
    struct http_req *req;                             /* borrowed */
    struct code_manager *code;                        /* borrowed */
    const char *prefix;                               /* of an error; a constant */
    json_t *(*model)(const struct code_context *ctx); /* the answer; NULL without memory */
};
/* NULL without memory. */
struct context_request *context_request_new(struct http_req *req, struct code_manager *code,
                                            const char *prefix,
                                            json_t *(*model)(const struct code_context *ctx));
/* r: of the call that will call back, with its err. */
enum http_result context_request_wait(struct context_request *wait, int r, const struct err *err);
enum http_result context_request_no_memory(struct http_req *req);
/* A code_ready_fn: answers with the model, or with the error. */
void context_request_on_ready(void *arg, struct code_context *ctx, const struct err *err);
/* The same for a context that the request has made: it goes again where the answer finds no memory. */
void context_request_on_made(void *arg, struct code_context *ctx, const struct err *err);
/* Ends the wait: with the error, or where that is NULL with the answer, which it takes. */
void context_request_answer(struct context_request *wait, json_t *answer, const struct err *err);
