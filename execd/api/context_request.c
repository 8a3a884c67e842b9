#include "execd/api/context_request.h"

#include <stdio.h>

#include "proto/api/errors.h"
#include "proto/http/resp.h"

struct code_context *context_request_find(struct http_req *req, struct api *api)
{
    return api->code ? code_context_find(api->code, http_req_param(req, "contextId")) : NULL;
}

enum http_result context_request_not_found(struct http_req *req)
{
    return http_resp_fail(req, ERR_CONTEXT_NOT_FOUND, "context %s not found",
                          http_req_param(req, "contextId"));
}

enum http_result context_request_fail(struct http_req *req, const char *prefix,
                                      const struct err *err)
{
    char text[ERR_TEXT_MAX * 2];
    struct err named = *err;
    (void)snprintf(text, sizeof(text), "%s%s", prefix, err->text); /* fits */
    (void)snprintf(named.text, sizeof(named.text), "%.*s", ERR_TEXT_MAX - 1,
                   text); /* cut at the struct's limit */
    return http_resp_error(req, &named);
}

enum http_result context_request_no_memory(struct http_req *req)
{
    return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the request");
}

/* ---- waiting ------------------------------------------------------------------------------------- */

static void on_closed(void *arg)
{
    struct context_request *wait = arg;
    code_cancel_ready(wait->code, wait);
}

struct context_request *context_request_new(struct http_req *req, struct code_manager *code,
                                            const char *prefix,
                                            json_t *(*model)(const struct code_context *ctx))
{
    struct context_request *wait = arena_alloc(http_req_arena(req), sizeof(*wait));
    if (wait)
        *wait = (struct context_request){req, code, prefix, model};
    return wait;
}

enum http_result context_request_wait(struct context_request *wait, int r, const struct err *err)
{
    if (r < 0)
        return context_request_fail(wait->req, wait->prefix, err);
    http_req_on_close(wait->req, on_closed, wait);
    return H_WAIT;
}

void context_request_answer(struct context_request *wait, json_t *answer, const struct err *err)
{
    http_req_on_close(wait->req, NULL, NULL);
    if (err)
        (void)context_request_fail(wait->req, wait->prefix, err);
    else
        (void)http_resp_json(wait->req, 200, answer);
}

void context_request_on_ready(void *arg, struct code_context *ctx, const struct err *err)
{
    struct context_request *wait = arg;
    context_request_answer(wait, ctx ? wait->model(ctx) : NULL, ctx ? NULL : err);
}

void context_request_on_made(void *arg, struct code_context *ctx, const struct err *err)
{
    struct context_request *wait = arg;
    if (!ctx) {
        context_request_answer(wait, NULL, err);
        return;
    }
    http_req_on_close(wait->req, NULL, NULL);
    if (http_resp_made(wait->req, 200, wait->model(ctx)) < 0)
        code_context_delete(ctx, NULL, NULL);
}
