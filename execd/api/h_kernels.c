#include <string.h>

#include "execd/api/context_delete.h"
#include "execd/api/context_request.h"
#include "execd/api/gateway.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/http/resp.h"

#define ENV_MAX 1000 /* variables */

static const struct jfield request_fields[] = {
    JFIELD(struct kernels_request, name, JFIELD_STRING, .max = 128, .doc = "kernelspec"),
    JFIELD(struct kernels_request, path, JFIELD_STRING, .max = 4095, .doc = "where it starts"),
    JFIELD(struct kernels_request, kernel_id, JFIELD_STRING, .max = 64, .doc = "id it shall have"),
    JFIELD(struct kernels_request, env, JFIELD_MAP, .max = ENV_MAX,
           .doc = "variables added to its environment"),
};

int gateway_decode(struct http_req *req, const struct jfield *fields, size_t n_fields, void *target,
                   struct err *err)
{
    struct slice body = http_req_body(req);
    if (body.len == strlen("null") && memcmp(body.ptr, "null", body.len) == 0)
        body.len = 0;
    int r = jfield_decode_text(fields, n_fields, body.ptr, body.len, true, target,
                               http_req_arena(req), ERR_INVALID_REQUEST_BODY, NULL, err);
    return r < 0 ? err_wrap(err, "Invalid JSON in body of request") : 0;
}

enum http_result gateway_no_kernels(struct http_req *req)
{
    return http_resp_fail(req, ERR_NOT_SUPPORTED, "kernels are switched off");
}

static struct code_context *find(struct http_req *req, struct api *api)
{
    return api->code != NULL ? code_context_find(api->code, http_req_param(req, "kernelId")) : NULL;
}

static enum http_result not_found(struct http_req *req)
{
    return http_resp_fail(req, ERR_CONTEXT_NOT_FOUND, "Kernel does not exist: %.64s",
                          http_req_param(req, "kernelId"));
}

/* ---- starting and looking ------------------------------------------------------------------------ */

int gateway_start_kernel(struct http_req *req, struct api *api,
                         const struct kernels_request *request, struct code_context **ret_ctx,
                         struct err *err)
{
    if (request->name == NULL || request->name[0] == '\0') {
        struct kernelspecs *specs = code_kernelspecs(api->code);
        gateway_check_default(api, specs);
        kernelspecs_free(specs);
    }
    return kernels_start(api->code, &api->kernels, request, http_req_arena(req), ret_ctx, err);
}

enum http_result h_kernel_start(struct http_req *req, void *app)
{
    struct api *api = app;
    struct kernels_request request = {0};
    struct code_context *ctx;
    struct err err = {0};
    if (gateway_decode(req, request_fields, ARRAY_LEN(request_fields), &request, &err) < 0)
        return http_resp_error(req, &err);
    if (api->code == NULL)
        return gateway_no_kernels(req);
    bool was_there =
        request.kernel_id != NULL && code_context_find(api->code, request.kernel_id) != NULL;
    if (gateway_start_kernel(req, api, &request, &ctx, &err) < 0)
        return http_resp_error(req, &err);
    http_resp_header(req, "Location",
                     arena_printf(http_req_arena(req), "/api/kernels/%s", code_context_id(ctx)));
    if (http_resp_made(req, 201, kernels_model(ctx)) < 0 && !was_there)
        code_context_delete(ctx, NULL, NULL);
    return H_DONE;
}

enum http_result h_kernel_list(struct http_req *req, void *app)
{
    struct api *api = app;
    return http_resp_json(req, 200, api->code != NULL ? kernels_list(api->code) : json_array());
}

enum http_result h_kernel_get(struct http_req *req, void *app)
{
    const struct code_context *ctx = find(req, app);
    return ctx != NULL ? http_resp_json(req, 200, kernels_model(ctx)) : not_found(req);
}

enum http_result h_kernel_interrupt(struct http_req *req, void *app)
{
    struct code_context *ctx = find(req, app);
    struct err err = {0};
    if (ctx == NULL)
        return not_found(req);
    return code_interrupt_kernel(ctx, &err) < 0 ? http_resp_error(req, &err)
                                                : http_resp_empty(req, 204);
}

/* ---- restarting: the answer tells that the new kernel is ready ----------------------------------- */

enum http_result h_kernel_restart(struct http_req *req, void *app)
{
    struct api *api = app;
    struct code_context *ctx = find(req, app);
    struct err err = {0};
    if (ctx == NULL)
        return not_found(req);
    struct context_request *wait = context_request_new(req, api->code, "", kernels_model);
    if (wait == NULL)
        return context_request_no_memory(req);
    int r = code_context_restart(ctx, context_request_on_ready, wait, &err);
    return context_request_wait(wait, r, &err);
}

/* ---- deleting: the answer tells that its processes are gone -------------------------------------- */

enum http_result gateway_delete_kernel(struct http_req *req, struct code_context *ctx)
{
    return context_delete_one(req, ctx, 204, "error deleting the kernel. ");
}

enum http_result h_kernel_delete(struct http_req *req, void *app)
{
    struct code_context *ctx = find(req, app);
    return ctx != NULL ? gateway_delete_kernel(req, ctx) : not_found(req);
}

/* ---- GET /api/status ----------------------------------------------------------------------------- */

enum http_result h_gateway_status(struct http_req *req, void *app)
{
    struct api *api = app;
    char started[CLOCK_RFC3339_MAX], active[CLOCK_RFC3339_MAX];
    int64_t started_us = api->started_wall_ms * 1000, active_us = started_us;
    int kernels = 0, connections = 0;
    struct code_context *ctx = NULL;
    while (api->code != NULL && (ctx = code_context_next(api->code, ctx)) != NULL) {
        active_us = MAX(active_us, code_context_active_us(ctx));
        connections += (int)code_context_n_clients(ctx);
        kernels++;
    }
    kernels_format_time(started_us, started);
    kernels_format_time(active_us, active);
    return http_resp_json(req, 200,
                          json_pack("{s:s, s:s, s:i, s:i}", "started", started, "last_activity",
                                    active, "kernels", kernels, "connections", connections));
}
