/* Checkpoints of code contexts: /code/contexts/{id}/checkpoint, checkpoints, rewind, branch. */

#include <errno.h>

#include "execd/api/api.h"
#include "execd/api/context_json.h"
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

static struct code_context *find_context(struct http_req *req, struct api *api)
{
    return api->code ? code_context_find(api->code, http_req_param(req, "contextId")) : NULL;
}

static enum http_result no_context(struct http_req *req)
{
    return http_resp_fail(req, ERR_CONTEXT_NOT_FOUND, "context %s not found",
                          http_req_param(req, "contextId"));
}

/* A request that waits; its address is the key for code_cancel_ready. */
struct wait {
    struct http_req *req;
    struct code_manager *code;
};

static void on_closed(void *arg)
{
    struct wait *wait = arg;
    code_cancel_ready(wait->code, wait);
}

static struct wait *new_wait(struct http_req *req, struct api *api)
{
    struct wait *wait = arena_alloc(http_req_arena(req), sizeof(*wait));
    if (wait)
        *wait = (struct wait){req, api->code};
    return wait;
}

/* r: of the call that will call back. */
static enum http_result wait_on(struct wait *wait, int r, const struct err *err)
{
    if (r < 0)
        return http_resp_error(wait->req, err);
    http_req_on_close(wait->req, on_closed, wait);
    return H_WAIT;
}

static void on_ready(void *arg, struct code_context *ctx, const struct err *err)
{
    struct wait *wait = arg;
    http_req_on_close(wait->req, NULL, NULL);
    if (ctx)
        (void)http_resp_json(wait->req, 200, api_context_json(ctx, true));
    else
        (void)http_resp_error(wait->req, err);
}

static void on_made(void *arg, const struct checkpoint *c, const struct err *err)
{
    struct wait *wait = arg;
    http_req_on_close(wait->req, NULL, NULL);
    if (c)
        (void)http_resp_json(wait->req, 200, checkpoint_json(c));
    else
        (void)http_resp_error(wait->req, err);
}

enum http_result h_checkpoint_make(struct http_req *req, void *app)
{
    struct code_context *ctx = find_context(req, app);
    struct wait *wait = new_wait(req, app);
    struct err err = {0};
    if (!ctx)
        return no_context(req);
    if (!wait)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory");
    return wait_on(wait, code_context_checkpoint(ctx, on_made, wait, &err), &err);
}

enum http_result h_checkpoint_list(struct http_req *req, void *app)
{
    const struct code_context *ctx = find_context(req, app);
    return ctx ? http_resp_json(req, 200, code_context_checkpoints(ctx)) : no_context(req);
}

enum http_result h_checkpoint_delete(struct http_req *req, void *app)
{
    struct code_context *ctx = find_context(req, app);
    struct err err = {0};
    if (!ctx)
        return no_context(req);
    if (code_checkpoint_delete(ctx, http_req_param(req, "checkpointId"), &err) < 0)
        return http_resp_error(req, &err);
    return http_resp_empty(req, 200);
}

static int decode(struct http_req *req, struct origin_body *ret_body, struct err *err)
{
    struct slice body = http_req_body(req);
    *ret_body = (struct origin_body){0};
    if (body.len == 0)
        return 0;
    return jfield_decode_text(origin_fields, ARRAY_LEN(origin_fields), body.ptr, body.len, false,
                              ret_body, http_req_arena(req), ERR_INVALID_REQUEST_BODY, NULL, err);
}

enum http_result h_context_rewind(struct http_req *req, void *app)
{
    struct code_context *ctx = find_context(req, app);
    struct wait *wait = new_wait(req, app);
    struct origin_body body;
    struct err err = {0};
    if (!ctx)
        return no_context(req);
    if (!wait)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory");
    if (decode(req, &body, &err) < 0)
        return http_resp_error(req, &err);
    if (!body.checkpoint)
        return http_resp_fail(req, ERR_INVALID_REQUEST_BODY, "checkpoint: which one?");
    return wait_on(wait, code_context_rewind(ctx, body.checkpoint, on_ready, wait, &err), &err);
}

/* A checkpoint was made for a branch that named none: it stays, so that the branch can be taken again. */
static void on_made_for_branch(void *arg, const struct checkpoint *c, const struct err *err)
{
    struct wait *wait = arg;
    struct code_context *ctx =
        code_context_find(wait->code, http_req_param(wait->req, "contextId"));
    struct err failure = {0};
    if (c && ctx && code_context_branch(ctx, checkpoint_id(c), on_ready, wait, &failure) == 0)
        return;
    http_req_on_close(wait->req, NULL, NULL);
    (void)http_resp_error(wait->req, c ? &failure : err);
}

enum http_result h_context_branch(struct http_req *req, void *app)
{
    struct code_context *ctx = find_context(req, app);
    struct wait *wait = new_wait(req, app);
    struct origin_body body;
    struct err err = {0};
    if (!ctx)
        return no_context(req);
    if (!wait)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory");
    if (decode(req, &body, &err) < 0)
        return http_resp_error(req, &err);
    if (body.checkpoint)
        return wait_on(wait, code_context_branch(ctx, body.checkpoint, on_ready, wait, &err), &err);
    return wait_on(wait, code_context_checkpoint(ctx, on_made_for_branch, wait, &err), &err);
}
