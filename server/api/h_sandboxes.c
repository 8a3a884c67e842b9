#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"
#include "server/api/create_request.h"
#include "server/api/enclave.h"
#include "server/api/handlers.h"
#include "server/api/query.h"
#include "server/api/view.h"

enum http_result h_no_sandbox(struct http_req *req, const char *id)
{
    return http_resp_fail(req, ERR_SANDBOX_NOT_FOUND, "Sandbox %.64s not found.", id);
}

/* One request that waits for the life cycle. It ends by the answer or by the client's leaving. */
struct pending {
    struct http_req *req; /* NULL once the client is gone */
    struct lifecycle *lifecycle;
};

static void on_client_gone(void *arg)
{
    struct pending *p = arg;

    lifecycle_cancel(p->lifecycle, p);
    free(p);
}

static struct pending *pending_new(struct http_req *req, const struct api *api)
{
    struct pending *p = xnew(struct pending);

    *p = (struct pending){.req = req, .lifecycle = api->lifecycle};
    http_req_on_close(req, on_client_gone, p);
    return p;
}

/* Gives the request back for its answer. */
static struct http_req *pending_end(struct pending *p)
{
    struct http_req *req = p->req;

    http_req_on_close(req, NULL, NULL);
    free(p);
    return req;
}

static void on_created(void *arg, const struct sandbox *sb, const struct err *err)
{
    struct http_req *req = pending_end(arg);

    if (err != NULL)
        (void)http_resp_error(req, err);
    else if (sb == NULL)
        (void)http_resp_fail(req, ERR_SANDBOX_START_FAILED,
                             "the sandbox was deleted while it was being created");
    else
        (void)http_resp_json(req, 202, view_sandbox(sb, false));
}

enum http_result h_sandbox_create(struct http_req *req, void *app)
{
    struct api *api = app;
    struct sandbox_spec spec;
    struct err err = {0};

    if (create_request_decode(http_req_body(req), http_req_arena(req), &spec, &err) < 0)
        return http_resp_error(req, &err);
    struct pending *p = pending_new(req, api);
    if (lifecycle_create(api->lifecycle, &spec, on_created, p, &err) < 0)
        return http_resp_error(pending_end(p), &err);
    return H_WAIT;
}

enum http_result h_sandbox_list(struct http_req *req, void *app)
{
    struct api *api = app;
    struct lifecycle_filter filter;
    struct lifecycle_page page;
    struct err err = {0};

    if (enclave_is_asked(req))
        return h_enclave_list(req, app);
    if (query_decode_filter(req, &filter, &err) < 0)
        return http_resp_error(req, &err);
    if (lifecycle_list(api->lifecycle, &filter, http_req_arena(req), &page) < 0)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the list");
    json_t *items = json_array();
    for (size_t i = 0; i < page.n; i++)
        json_array_append_new(items, view_sandbox(page.items[i], true));
    size_t pages = (page.total + filter.page_size - 1) / filter.page_size;
    json_t *pagination =
        json_pack("{s:i, s:i, s:I, s:I, s:b}", "page", (int)filter.page, "pageSize",
                  (int)filter.page_size, "totalItems", (json_int_t)page.total, "totalPages",
                  (json_int_t)pages, "hasNextPage", filter.page < pages);
    return http_resp_json(req, 200,
                          json_pack("{s:o, s:o}", "items", items, "pagination", pagination));
}

enum http_result h_sandbox_get(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    const struct sandbox *sb = lifecycle_find(api->lifecycle, id);

    return sb != NULL ? http_resp_json(req, 200, view_sandbox(sb, true)) : h_no_sandbox(req, id);
}

static void on_deleted(void *arg, const struct sandbox *sb, const struct err *err)
{
    struct http_req *req = pending_end(arg);

    (void)sb;
    if (err != NULL)
        (void)http_resp_error(req, err);
    else
        (void)http_resp_empty(req, 204);
}

enum http_result h_sandbox_delete(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");

    if (lifecycle_find(api->lifecycle, id) == NULL)
        return h_no_sandbox(req, id);
    lifecycle_delete(api->lifecycle, id, on_deleted, pending_new(req, api));
    return H_WAIT;
}

static void on_frozen(void *arg, const struct sandbox *sb, const struct err *err)
{
    struct http_req *req = pending_end(arg);

    (void)sb;
    if (err != NULL)
        (void)http_resp_error(req, err);
    else
        (void)http_resp_empty(req, 202);
}

static enum http_result freeze(struct http_req *req, struct api *api, bool pause)
{
    lifecycle_freeze(api->lifecycle, http_req_param(req, "id"), pause, on_frozen,
                     pending_new(req, api));
    return H_WAIT;
}

enum http_result h_sandbox_pause(struct http_req *req, void *app)
{
    return freeze(req, app, true);
}

enum http_result h_sandbox_resume(struct http_req *req, void *app)
{
    return freeze(req, app, false);
}

/* A number counts as Unix seconds (contracts/server.md 1.1, "Datetimes in"). */
static int decode_instant(const json_t *value, int64_t *ret_us)
{
    if (json_is_string(value))
        return clock_parse_rfc3339(json_string_value(value), ret_us);
    if (!json_is_number(value))
        return -EINVAL;
    double seconds = json_number_value(value);
    if (!(seconds >= 0 && seconds < 1e11))
        return -EINVAL;
    *ret_us = (int64_t)(seconds * 1e6);
    return 0;
}

enum http_result h_sandbox_renew(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    struct slice body = http_req_body(req);
    cleanup_json json_t *doc = NULL;
    struct err err = {0};
    int64_t expires_us;
    char text[CLOCK_RFC3339_MAX];

    if (json_parse(body.ptr, body.len, &doc, ERR_VALIDATION, &err) < 0)
        return http_resp_error(req, &err);
    const json_t *value = json_object_get(doc, "expiresAt");
    if (value == NULL)
        value = json_object_get(doc, "expires_at");
    if (value == NULL || decode_instant(value, &expires_us) < 0)
        return http_resp_fail(
            req, ERR_VALIDATION,
            "expiresAt: an RFC 3339 time such as 2027-01-31T12:00:00Z is required");
    if (lifecycle_renew(api->lifecycle, id, expires_us, &err) < 0)
        return http_resp_error(req, &err);
    clock_format_us(expires_us, text);
    return http_resp_json(req, 200, json_pack("{s:s}", "expiresAt", text));
}

enum http_result h_sandbox_patch(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    struct jpair *changes;
    size_t n;
    struct err err = {0};

    if (query_decode_patch(req, &changes, &n, &err) < 0 ||
        lifecycle_patch_metadata(api->lifecycle, id, changes, n, &err) < 0)
        return http_resp_error(req, &err);
    return http_resp_json(req, 200, view_sandbox(lifecycle_find(api->lifecycle, id), true));
}
