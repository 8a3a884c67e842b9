/*
 * Tools through ms-enclave's API: in a sandbox that is named, or in one of the pool.
 */
#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"
#include "server/api/enclave.h"
#include "server/enclave/config.h"

/* ---- in a sandbox that is named ---- */

struct execute_body {
    const char *sandbox_id, *tool_name;
    json_t *parameters, *timeout;
};

static const struct jfield execute_fields[] = {
    JFIELD(struct execute_body, sandbox_id, JFIELD_STRING, .flags = JFIELD_REQUIRED, .max = 128),
    JFIELD(struct execute_body, tool_name, JFIELD_STRING, .flags = JFIELD_REQUIRED, .max = 128),
    JFIELD(struct execute_body, parameters, JFIELD_RAW),
    JFIELD(struct execute_body, timeout, JFIELD_RAW),
};

struct asked {
    struct http_req *req;
    struct enclave_call *call;    /* owned; NULL once over */
    struct pool_use *use;         /* owned; the same for the pool */
    struct enclave_pool *filling; /* borrowed; NULL once over */
};

static void on_close(void *arg)
{
    struct asked *a = arg;

    if (a->call != NULL)
        enclave_call_cancel(a->call);
    if (a->use != NULL)
        enclave_pool_cancel(a->use);
    if (a->filling != NULL)
        enclave_pool_forget(a->filling, a);
    free(a);
}

static struct asked *asked_new(struct http_req *req)
{
    struct asked *a = xnew(struct asked);

    a->req = req;
    return a;
}

static enum http_result asked_refuse(struct asked *a, const struct err *err)
{
    struct http_req *req = a->req;

    free(a);
    return http_resp_error(req, err);
}

static void on_executed(void *arg, json_t *result)
{
    struct asked *a = arg;

    a->call = NULL;
    (void)http_resp_json(a->req, 200, result);
}

/* The limit of the request counts where the tool's parameters name none. */
static int check_parameters(struct execute_body *b, struct err *err)
{
    if (b->parameters != NULL && !json_is_null(b->parameters) && !json_is_object(b->parameters))
        return err_set(err, ERR_VALIDATION, EINVAL, "parameters: expected an object");
    if (json_is_object(b->parameters) && json_is_number(b->timeout) &&
        json_object_get(b->parameters, "timeout") == NULL)
        json_object_set(b->parameters, "timeout", b->timeout);
    return 0;
}

enum http_result h_enclave_execute(struct http_req *req, void *app)
{
    struct api *api = app;
    struct slice body = http_req_body(req);
    cleanup_json json_t *document = NULL;
    struct execute_body b;
    struct err err = {0};

    if (jfield_decode_text(execute_fields, ARRAY_LEN(execute_fields), body.ptr, body.len, false, &b,
                           http_req_arena(req), ERR_VALIDATION, &document, &err) < 0 ||
        check_parameters(&b, &err) < 0)
        return http_resp_error(req, &err);
    const struct sandbox *sb = enclave_find(api, b.sandbox_id);
    if (sb == NULL)
        return enclave_no_sandbox(req, b.sandbox_id);
    struct asked *a = asked_new(req);
    if (enclave_call_start(api->base, api->lifecycle, sb, b.tool_name, b.parameters, on_executed, a,
                           &a->call, &err) < 0)
        return asked_refuse(a, &err);
    http_req_on_close(req, on_close, a);
    return H_WAIT;
}

/* ---- in one of the pool ---- */

static int query_number(struct http_req *req, const char *key, double least, double most,
                        double *value, struct err *err)
{
    const char *text = http_req_query(req, key, 0);
    char *end;

    if (text == NULL)
        return 0;
    errno = 0;
    double given = strtod(text, &end);
    if (end == text || *end != '\0' || !(given >= least && given <= most))
        return err_set(err, ERR_VALIDATION, EINVAL, "%s: expected %g to %g", key, least, most);
    *value = given;
    return 0;
}

static void on_filled(void *arg, json_t *ids, const struct err *err)
{
    struct asked *a = arg;

    a->filling = NULL;
    if (err != NULL) {
        json_decref(ids);
        (void)http_resp_error(a->req, err);
        return;
    }
    (void)http_resp_json(a->req, 200,
                         json_pack("{s:s, s:I, s:o}", "message", "Pool initialized successfully",
                                   "pool_size", (json_int_t)json_array_size(ids), "sandbox_ids",
                                   ids));
}

enum http_result h_enclave_pool_fill(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *type = http_req_query(req, "sandbox_type", 0);
    struct sandbox_spec spec;
    struct err err = {0};
    double size = 1;

    if (query_number(req, "pool_size", 1, POOL_SIZE_MAX, &size, &err) < 0 ||
        enclave_config_decode(type != NULL ? type : "docker", http_req_body(req), &api->enclave,
                              http_req_arena(req), &spec, &err) < 0)
        return http_resp_error(req, &err);
    struct asked *a = asked_new(req);
    if (enclave_pool_fill(api->pool, &spec, (unsigned)size, on_filled, a, &err) < 0)
        return asked_refuse(a, &err);
    a->filling = api->pool;
    http_req_on_close(req, on_close, a);
    return H_WAIT;
}

static void on_used(void *arg, json_t *result, const struct err *err)
{
    struct asked *a = arg;

    a->use = NULL;
    if (err != NULL)
        (void)http_resp_error(a->req, err);
    else
        (void)http_resp_json(a->req, 200, result);
}

enum http_result h_enclave_pool_use(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *tool = http_req_query(req, "tool_name", 0);
    struct slice body = http_req_body(req);
    cleanup_json json_t *parameters = NULL;
    struct err err = {0};
    double wait_s = POOL_WAIT_S;

    if (query_number(req, "timeout", 0.001, POOL_WAIT_S, &wait_s, &err) < 0 ||
        json_parse(body.ptr, body.len, &parameters, ERR_VALIDATION, &err) < 0)
        return http_resp_error(req, &err);
    if (tool == NULL || tool[0] == '\0' || !json_is_object(parameters))
        return http_resp_fail(req, ERR_VALIDATION,
                              "tool_name is required, and an object of parameters as body");
    struct asked *a = asked_new(req);
    if (enclave_pool_use(api->pool, tool, parameters, (int64_t)(wait_s * 1000), on_used, a, &a->use,
                         &err) < 0)
        return asked_refuse(a, &err);
    http_req_on_close(req, on_close, a);
    return H_WAIT;
}
