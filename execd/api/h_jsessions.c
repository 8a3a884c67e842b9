#include <errno.h>
#include <string.h>

#include "execd/api/gateway.h"
#include "execd/gateway/jsessions.h"
#include "proto/api/errors.h"
#include "proto/http/resp.h"
#include "proto/json/json_build.h"

struct kernel_part {
    const char *id, *name;
};
struct notebook_part {
    const char *path, *name;
};
struct session_body {
    struct jsession_facts facts;
    struct kernel_part kernel;
    struct notebook_part notebook; /* older clients: instead of path and type */
};

static const struct jfield kernel_fields[] = {
    JFIELD(struct kernel_part, id, JFIELD_STRING, .max = 64, .doc = "kernel that is there"),
    JFIELD(struct kernel_part, name, JFIELD_STRING, .max = 128, .doc = "kernelspec of a new one"),
};
static const struct jfield notebook_fields[] = {
    JFIELD(struct notebook_part, path, JFIELD_STRING, .max = JSESSION_TEXT_MAX),
    JFIELD(struct notebook_part, name, JFIELD_STRING, .max = JSESSION_TEXT_MAX),
};
static const struct jfield session_fields[] = {
    {.name = "path",
     .kind = JFIELD_STRING,
     .offset = offsetof(struct session_body, facts.path),
     .max = JSESSION_TEXT_MAX,
     .doc = "document"},
    {.name = "name",
     .kind = JFIELD_STRING,
     .offset = offsetof(struct session_body, facts.name),
     .max = JSESSION_TEXT_MAX,
     .doc = "how it is shown"},
    {.name = "type",
     .kind = JFIELD_STRING,
     .offset = offsetof(struct session_body, facts.type),
     .max = JSESSION_TEXT_MAX,
     .doc = "notebook, console, file, ..."},
    JFIELD(struct session_body, kernel, JFIELD_OBJECT, .sub = kernel_fields,
           .n_sub = ARRAY_LEN(kernel_fields), .doc = "kernel that it uses"),
    JFIELD(struct session_body, notebook, JFIELD_OBJECT, .sub = notebook_fields,
           .n_sub = ARRAY_LEN(notebook_fields), .doc = "older form of path and type"),
};

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int decode(struct http_req *req, struct session_body *body, struct err *err)
{
    memset(body, 0, sizeof(*body));
    int r = gateway_decode(req, session_fields, ARRAY_LEN(session_fields), body, err);
    if (r < 0)
        return r;
    const char *legacy = is_given(body->notebook.path) ? body->notebook.path : body->notebook.name;
    if (is_given(legacy)) {
        body->facts.path = legacy;
        body->facts.type = "notebook";
        if (body->facts.name == NULL)
            body->facts.name = body->notebook.name;
    }
    return 0;
}

/* A session asks for what cannot be had here in Jupyter's own words. */
static enum http_result fail(struct http_req *req, const struct err *err, const char *kernel)
{
    if (err->code != ERR_KERNELSPEC_NOT_FOUND)
        return http_resp_error(req, err);
    struct err named = *err;
    named.code = ERR_KERNELSPEC_UNAVAILABLE;
    json_t *body = gateway_render_error(&named);
    json_put(&body, "short_message",
             json_sprintf("%.128s not found", is_given(kernel) ? kernel : "the default kernel"));
    return http_resp_json(req, err_classify(&named)->status, body);
}

static struct jsession *find(struct http_req *req, struct api *api)
{
    return api->jsessions != NULL ? jsessions_find(api->jsessions, http_req_param(req, "sessionId"))
                                  : NULL;
}

static enum http_result not_found(struct http_req *req)
{
    return http_resp_fail(req, ERR_SESSION_NOT_FOUND, "Session not found: session_id=%.64s",
                          http_req_param(req, "sessionId"));
}

static int start_kernel(struct http_req *req, struct api *api, const char *name, const char *path,
                        struct code_context **ret_ctx, struct err *err)
{
    struct kernels_request request = {.name = name, .path = path};
    return gateway_start_kernel(req, api, &request, ret_ctx, err);
}

/* ---- POST ----------------------------------------------------------------------------------------- */

static int create(struct http_req *req, struct api *api, const struct session_body *body,
                  struct jsession **ret_session, struct code_context **ret_started, struct err *err)
{
    struct code_context *ctx =
        is_given(body->kernel.id) ? code_context_find(api->code, body->kernel.id) : NULL;
    bool started = ctx == NULL;
    int r = started ? start_kernel(req, api, body->kernel.name, body->facts.path, &ctx, err) : 0;
    if (r < 0)
        return r;
    r = jsessions_add(api->jsessions, &body->facts, code_context_id(ctx), ret_session, err);
    if (r < 0 && started)
        code_context_delete(ctx, NULL, NULL);
    *ret_started = started ? ctx : NULL;
    return r;
}

/* A session that its client was not told of, and the kernel that was started for it. */
static void undo(struct api *api, struct jsession *session, struct code_context *started)
{
    jsession_remove(api->jsessions, session);
    if (started != NULL)
        code_context_delete(started, NULL, NULL);
}

enum http_result h_jsession_create(struct http_req *req, void *app)
{
    struct api *api = app;
    struct session_body body;
    struct err err = {0};
    if (decode(req, &body, &err) < 0)
        return http_resp_error(req, &err);
    if (api->code == NULL)
        return gateway_no_kernels(req);
    if (!is_given(body.facts.path) || !is_given(body.facts.type))
        return http_resp_fail(req, ERR_INVALID_REQUEST_BODY, "Missing field in JSON data: %s",
                              is_given(body.facts.path) ? "type" : "path");
    struct jsession *session = jsessions_find_path(api->jsessions, body.facts.path);
    struct code_context *started = NULL;
    bool was_there = session != NULL;
    if (!was_there && create(req, api, &body, &session, &started, &err) < 0)
        return fail(req, &err, body.kernel.name);
    http_resp_header(req, "Location",
                     arena_printf(http_req_arena(req), "/api/sessions/%s", jsession_id(session)));
    if (http_resp_made(req, 201, jsession_model(api->jsessions, session)) < 0 && !was_there)
        undo(api, session, started);
    return H_DONE;
}

/* ---- the others ----------------------------------------------------------------------------------- */

enum http_result h_jsession_list(struct http_req *req, void *app)
{
    struct api *api = app;
    return http_resp_json(req, 200,
                          api->jsessions != NULL ? jsessions_list(api->jsessions) : json_array());
}

enum http_result h_jsession_get(struct http_req *req, void *app)
{
    struct api *api = app;
    const struct jsession *session = find(req, api);
    if (session == NULL || jsession_kernel(api->jsessions, session) == NULL)
        return not_found(req);
    return http_resp_json(req, 200, jsession_model(api->jsessions, session));
}

/* The kernel that the session shall have from now on. */
static int next_kernel(struct http_req *req, struct api *api, const struct session_body *body,
                       const char *path, struct code_context *now, struct code_context **ret_ctx,
                       struct err *err)
{
    *ret_ctx = now;
    if (is_given(body->kernel.id)) {
        *ret_ctx = code_context_find(api->code, body->kernel.id);
        return *ret_ctx != NULL ? 0
                                : err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                                          "No such kernel: %.64s", body->kernel.id);
    }
    if (is_given(body->kernel.name))
        return start_kernel(req, api, body->kernel.name, path, ret_ctx, err);
    return 0;
}

enum http_result h_jsession_change(struct http_req *req, void *app)
{
    struct api *api = app;
    struct jsession *session = find(req, api);
    struct session_body body;
    struct code_context *next, *now;
    struct err err = {0};
    if (session == NULL || (now = jsession_kernel(api->jsessions, session)) == NULL)
        return not_found(req);
    if (decode(req, &body, &err) < 0)
        return http_resp_error(req, &err);
    const char *path = body.facts.path != NULL ? body.facts.path : jsession_path(session);
    if (next_kernel(req, api, &body, path, now, &next, &err) < 0)
        return fail(req, &err, body.kernel.name);
    jsession_change(session, &body.facts, code_context_id(next));
    if (next != now)
        code_context_delete(now, NULL, NULL);
    return http_resp_json(req, 200, jsession_model(api->jsessions, session));
}

enum http_result h_jsession_delete(struct http_req *req, void *app)
{
    struct api *api = app;
    struct jsession *session = find(req, api);
    if (session == NULL)
        return not_found(req);
    struct code_context *ctx = jsession_kernel(api->jsessions, session);
    jsession_remove(api->jsessions, session);
    return ctx != NULL ? gateway_delete_kernel(req, ctx)
                       : http_resp_fail(req, ERR_KERNEL_GONE, "Kernel deleted before session");
}
