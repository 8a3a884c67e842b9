/* Checkpoints of code contexts: /code/contexts/{id}/checkpoint, checkpoints, rewind, branch. */

#include "execd/api/context_json.h"
#include "execd/api/context_request.h"
#include "execd/code/checkpoint.h"
#include "proto/api/errors.h"
#include "proto/base/ids.h"
#include "proto/http/resp.h"

struct origin_body {
    const char *checkpoint;
};
static const struct jfield origin_fields[] = {
    JFIELD(struct origin_body, checkpoint, JFIELD_STRING, .max = ID_HEX_LEN, .doc = "its id"),
};

/* What the three that wait begin with: H_WAIT, or the refusal has been answered. ret_body may be NULL. */
static enum http_result begin(struct http_req *req, struct api *api, struct code_context **ret_ctx,
                              struct context_request **ret_wait, struct origin_body *ret_body)
{
    struct slice body = http_req_body(req);
    struct err err = {0};
    *ret_ctx = context_request_find(req, api);
    if (!*ret_ctx)
        return context_request_not_found(req);
    *ret_wait = context_request_new(req, api->code, "", api_context_json);
    if (!*ret_wait)
        return context_request_no_memory(req);
    if (ret_body && body.len > 0 &&
        jfield_decode_text(origin_fields, ARRAY_LEN(origin_fields), body.ptr, body.len, false,
                           ret_body, http_req_arena(req), ERR_INVALID_REQUEST_BODY, NULL, &err) < 0)
        return http_resp_error(req, &err);
    return H_WAIT;
}

static void on_made(void *arg, const struct checkpoint *c, const struct err *err)
{
    context_request_answer(arg, c ? checkpoint_json(c) : NULL, c ? NULL : err);
}

enum http_result h_checkpoint_make(struct http_req *req, void *app)
{
    struct code_context *ctx;
    struct context_request *wait;
    struct err err = {0};
    enum http_result result = begin(req, app, &ctx, &wait, NULL);
    return result != H_WAIT ? result
                            : context_request_wait(
                                  wait, code_context_checkpoint(ctx, on_made, wait, &err), &err);
}

enum http_result h_checkpoint_list(struct http_req *req, void *app)
{
    const struct code_context *ctx = context_request_find(req, app);
    return ctx ? http_resp_json(req, 200, code_context_checkpoints(ctx))
               : context_request_not_found(req);
}

enum http_result h_checkpoint_delete(struct http_req *req, void *app)
{
    struct code_context *ctx = context_request_find(req, app);
    struct err err = {0};
    if (!ctx)
        return context_request_not_found(req);
    if (code_checkpoint_delete(ctx, http_req_param(req, "checkpointId"), &err) < 0)
        return http_resp_error(req, &err);
    return http_resp_empty(req, 200);
}

enum http_result h_context_rewind(struct http_req *req, void *app)
{
    struct code_context *ctx;
    struct context_request *wait;
    struct origin_body body = {0};
    struct err err = {0};
    enum http_result result = begin(req, app, &ctx, &wait, &body);
    if (result != H_WAIT)
        return result;
    if (!body.checkpoint)
        return http_resp_fail(req, ERR_INVALID_REQUEST_BODY, "checkpoint: which one?");
    int r = code_context_rewind(ctx, body.checkpoint, context_request_on_ready, wait, &err);
    return context_request_wait(wait, r, &err);
}

/* A checkpoint was made for a branch that named none: it stays, so that the branch can be taken again. */
static void on_made_for_branch(void *arg, const struct checkpoint *c, const struct err *err)
{
    struct context_request *wait = arg;
    struct code_context *ctx =
        code_context_find(wait->code, http_req_param(wait->req, "contextId"));
    struct err failure = {.code = ERR_CONTEXT_NOT_FOUND, .text = "the context was deleted"};
    if (c && ctx &&
        code_context_branch(ctx, checkpoint_id(c), context_request_on_made, wait, &failure) == 0)
        return;
    context_request_answer(wait, NULL, c ? &failure : err);
}

enum http_result h_context_branch(struct http_req *req, void *app)
{
    struct code_context *ctx;
    struct context_request *wait;
    struct origin_body body = {0};
    struct err err = {0};
    enum http_result result = begin(req, app, &ctx, &wait, &body);
    if (result != H_WAIT)
        return result;
    int r = body.checkpoint
                ? code_context_branch(ctx, body.checkpoint, context_request_on_made, wait, &err)
                : code_context_checkpoint(ctx, on_made_for_branch, wait, &err);
    return context_request_wait(wait, r, &err);
}
