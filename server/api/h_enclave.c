/*
 * Sandboxes through ms-enclave's API: made, looked at, stopped, deleted.
 */
#include <string.h>

#include "proto/api/errors.h"
#include "proto/http/relay.h"
#include "proto/http/uri.h"
#include "server/api/enclave.h"
#include "server/enclave/config.h"

/* One request that waits for the life cycle. */
struct waiting {
    struct http_req *req;
    struct lifecycle *lifecycle;
    const char *message; /* of the answer */
};

static void on_client_gone(void *arg)
{
    struct waiting *w = arg;

    lifecycle_cancel(w->lifecycle, w);
    free(w);
}

static struct waiting *wait_for(struct http_req *req, const struct api *api, const char *message)
{
    struct waiting *w = xnew(struct waiting);

    *w = (struct waiting){req, api->lifecycle, message};
    http_req_on_close(req, on_client_gone, w);
    return w;
}

static struct http_req *wait_end(struct waiting *w)
{
    struct http_req *req = w->req;

    http_req_on_close(req, NULL, NULL);
    free(w);
    return req;
}

static void on_created(void *arg, const struct sandbox *sb, const struct err *err)
{
    struct http_req *req = wait_end(arg);

    if (err != NULL)
        (void)http_resp_error(req, err);
    else if (sb == NULL)
        (void)http_resp_fail(req, ERR_SANDBOX_START_FAILED,
                             "the sandbox was deleted while it was being created");
    else
        (void)http_resp_json(req, 200, json_pack("{s:s}", "sandbox_id", sb->id));
}

enum http_result h_enclave_create(struct http_req *req, void *app)
{
    struct api *api = app;
    struct sandbox_spec spec;
    struct err err = {0};

    if (enclave_config_decode(http_req_query(req, "sandbox_type", 0), http_req_body(req),
                              &api->enclave, http_req_arena(req), &spec, &err) < 0)
        return http_resp_error(req, &err);
    struct waiting *w = wait_for(req, api, NULL);
    if (lifecycle_create(api->lifecycle, &spec, on_created, w, &err) < 0)
        return http_resp_error(wait_end(w), &err);
    return H_WAIT;
}

enum http_result h_enclave_list(struct http_req *req, void *app)
{
    const char *status = http_req_query(req, "status", 0);

    if (status != NULL && !enclave_status_is_known(status))
        return http_resp_fail(req, ERR_VALIDATION, "status: '%.32s' is none", status);
    return http_resp_json(req, 200, enclave_list(app, status, http_req_arena(req)));
}

enum http_result h_enclave_get(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    const struct sandbox *sb = enclave_find(api, id);
    const struct stopped *s = sb == NULL ? stopped_find(api->stopped, id) : NULL;

    if (sb == NULL && s == NULL)
        return enclave_no_sandbox(req, id);
    return http_resp_json(req, 200, sb != NULL ? enclave_info(api, sb) : enclave_info_stopped(s));
}

static enum http_result say(struct http_req *req, const char *message)
{
    return http_resp_json(req, 200, json_pack("{s:s}", "message", message));
}

static void on_removed(void *arg, const struct sandbox *sb, const struct err *err)
{
    struct waiting *w = arg;
    const char *message = w->message;
    struct http_req *req = wait_end(w);

    (void)sb;
    if (err != NULL)
        (void)http_resp_error(req, err);
    else
        (void)say(req, message);
}

/* What a stopped one held is given back at once; what is left is what can be said of it. */
enum http_result h_enclave_stop(struct http_req *req, void *app)
{
    static const char message[] = "Sandbox stopped successfully";
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    const struct sandbox *sb = enclave_find(api, id);

    if (sb == NULL)
        return stopped_find(api->stopped, id) != NULL ? say(req, message)
                                                      : enclave_no_sandbox(req, id);
    stopped_add(api->stopped, sb);
    lifecycle_delete(api->lifecycle, id, on_removed, wait_for(req, api, message));
    return H_WAIT;
}

enum http_result h_enclave_delete(struct http_req *req, void *app)
{
    static const char message[] = "Sandbox deleted successfully";
    struct api *api = app;
    const char *id = http_req_param(req, "id");

    bool was_stopped = stopped_remove(api->stopped, id);
    if (enclave_find(api, id) == NULL)
        return was_stopped ? say(req, message) : enclave_no_sandbox(req, id);
    lifecycle_delete(api->lifecycle, id, on_removed, wait_for(req, api, message));
    return H_WAIT;
}

enum http_result h_enclave_tools(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    const struct sandbox *sb = enclave_find(api, id);
    const struct stopped *s = sb == NULL ? stopped_find(api->stopped, id) : NULL;

    if (sb == NULL && s == NULL)
        return enclave_no_sandbox(req, id);
    return http_resp_json(req, 200, sb != NULL ? enclave_tools(sb) : enclave_tools_stopped(s));
}

enum http_result h_enclave_stats(struct http_req *req, void *app)
{
    return http_resp_json(req, 200, enclave_stats(app, http_req_arena(req)));
}

/* Goes to execd as it comes: it unpacks while the archive arrives. */
enum http_result h_enclave_archive(struct http_req *req, void *app)
{
    static const char *const dropped[] = {"OPEN-SANDBOX-API-KEY", "X-API-Key", "Authorization",
                                          "Cookie", NULL};
    struct api *api = app;
    const char *id = http_req_param(req, "id"), *dir = http_req_query(req, "target_dir", 0);
    const char *length = http_req_header(req, "Content-Length");
    const struct sandbox *sb = enclave_find(api, id);
    struct relay_target target = {0};
    char token[TOKEN_TEXT_SIZE];

    if (sb == NULL || sb->state != SANDBOX_RUNNING)
        return enclave_no_sandbox(req, id);
    if (dir == NULL || dir[0] != '/')
        return http_resp_fail(req, ERR_VALIDATION, "target_dir: expected an absolute path");
    if (length != NULL && strcmp(length, "0") == 0)
        return http_resp_fail(req, ERR_BAD_REQUEST, "Archive body must not be empty");
    if (lifecycle_execd_target(api->lifecycle, sb, &target, http_req_arena(req)) < 0)
        return http_resp_fail(req, ERR_BACKEND_CONNECTION_FAILED, "Sandbox %s has no address", id);
    const char *const add[][2] = {{"X-EXECD-ACCESS-TOKEN", token}, {NULL, NULL}};
    lifecycle_token(api->lifecycle, sb, token);
    const struct relay_options options = {
        .target = arena_printf(http_req_arena(req), "/directories/tar?path=%s",
                               uri_encode(http_req_arena(req), dir, "/")),
        .drop = dropped,
        .add = add,
        .forwarded = true,
    };
    enum http_result result = relay_start(req, &target, &options);
    explicit_bzero(token, sizeof(token));
    return result;
}
