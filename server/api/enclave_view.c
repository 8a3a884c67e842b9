/*
 * What ms-enclave's clients are told: sandboxes, tools, figures.
 */
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"
#include "server/api/enclave.h"
#include "server/enclave/config.h"

#define LISTED_MAX 100000

bool enclave_is_asked(const struct http_req *req)
{
    static const char *const own[] = {"/sandbox/", "/pool/", "/stats"};
    const char *path = http_req_raw_path(req);

    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        if (str_starts(path, own[i]))
            return true;
    }
    return !str_starts(path, "/v1/") && (http_req_listener_tag(req) == LISTENER_ENCLAVE ||
                                         http_req_header_count(req, "X-API-Key") > 0);
}

json_t *api_render_error(struct http_req *req, const struct err *err, void *app)
{
    const struct err_row *row = err_classify(err);

    (void)app;
    if (!enclave_is_asked(req))
        return NULL;
    return json_pack("{s:s, s:s+++, s:s}", "code", row->wire, "message", err->text, " [",
                     row->family, "]", "detail", err->text);
}

const struct sandbox *enclave_find(const struct api *api, const char *id)
{
    const struct sandbox *sb = lifecycle_find(api->lifecycle, id);

    return sb != NULL && enclave_type(sb) != NULL ? sb : NULL;
}

enum http_result enclave_no_sandbox(struct http_req *req, const char *id)
{
    return http_resp_fail(req, ERR_SANDBOX_NOT_FOUND, "Sandbox %.64s not found", id);
}

static const char *const names[SANDBOX_STATE_MAX] = {
    [SANDBOX_PENDING] = "initializing", [SANDBOX_RUNNING] = "running",
    [SANDBOX_PAUSED] = "idle",          [SANDBOX_STOPPING] = "stopping",
    [SANDBOX_TERMINATED] = "stopped",   [SANDBOX_FAILED] = "error",
};
#define BUSY "busy" /* in the pool */

bool enclave_status_is_known(const char *status)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], status) == 0)
            return true;
    }
    return strcmp(status, BUSY) == 0;
}

static const char *status_of(const struct api *api, const struct sandbox *sb)
{
    enum pool_state pooled = enclave_pool_state(api->pool, sb->id);

    if (sb->state != SANDBOX_RUNNING || pooled == POOL_NONE)
        return names[sb->state];
    return pooled == POOL_BUSY ? BUSY : names[SANDBOX_PAUSED];
}

static json_t *time_json(int64_t wall_us)
{
    char text[CLOCK_RFC3339_MAX];

    clock_format_us(wall_us, text);
    return json_string(text);
}

static json_t *tools_of(const char *type, const json_t *config)
{
    bool notebook = strcmp(type, "docker_notebook") == 0;
    json_t *found = json_object();

    for (size_t i = 0; i < n_tools; i++) {
        if ((notebook || !tools[i].notebook) && enclave_has_tool(config, tools[i].name))
            json_object_set_new(found, tools[i].name, tool_schema(&tools[i]));
    }
    return found;
}

json_t *enclave_tools(const struct sandbox *sb)
{
    cleanup_json json_t *config = enclave_config_json(sb);

    return tools_of(enclave_type(sb), config);
}

json_t *enclave_tools_stopped(const struct stopped *s)
{
    return tools_of(s->type, s->config);
}

json_t *enclave_info(const struct api *api, const struct sandbox *sb)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:{s:s}, s:o}", "id", sb->id, "status",
                     status_of(api, sb), "type", enclave_type(sb), "config",
                     enclave_config_json(sb), "created_at", time_json(sb->created_us), "updated_at",
                     time_json(sb->transition_us), "metadata", "image", sb->spec.image,
                     "available_tools", enclave_tools(sb));
}

json_t *enclave_info_stopped(const struct stopped *s)
{
    return json_pack("{s:s, s:s, s:s, s:O, s:o, s:o, s:{}, s:o}", "id", s->id, "status", "stopped",
                     "type", s->type, "config", s->config, "created_at", time_json(s->created_us),
                     "updated_at", time_json(s->stopped_us), "metadata", "available_tools",
                     enclave_tools_stopped(s));
}

static int all_sandboxes(const struct api *api, struct arena *arena, struct lifecycle_page *ret)
{
    const struct lifecycle_filter filter = {.page = 1, .page_size = LISTED_MAX};

    return lifecycle_list(api->lifecycle, &filter, arena, ret);
}

/* Those that are being stopped still count as sandboxes. */
static bool is_gone(const struct api *api, const struct stopped *s)
{
    return enclave_find(api, s->id) == NULL;
}

json_t *enclave_list(const struct api *api, const char *status, struct arena *arena)
{
    struct lifecycle_page page;
    json_t *found = json_array();

    if (all_sandboxes(api, arena, &page) < 0) {
        json_decref(found);
        return NULL;
    }
    for (size_t i = 0; i < page.n; i++) {
        const struct sandbox *sb = page.items[i];
        if (enclave_type(sb) != NULL && (status == NULL || strcmp(status, status_of(api, sb)) == 0))
            json_array_append_new(found, enclave_info(api, sb));
    }
    const struct stopped *s = stopped_first(api->stopped);
    for (; s != NULL && (status == NULL || strcmp(status, "stopped") == 0); s = s->next) {
        if (is_gone(api, s))
            json_array_append_new(found, enclave_info_stopped(s));
    }
    return found;
}

static void count(json_t *counts, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(counts, key));

    json_object_set_new(counts, key, json_integer(n + 1));
}

json_t *enclave_stats(const struct api *api, struct arena *arena)
{
    json_t *statuses = json_object(), *types = json_object();
    struct lifecycle_page page = {0};
    json_int_t total = 0;

    if (all_sandboxes(api, arena, &page) < 0)
        page.n = 0;
    for (size_t i = 0; i < page.n; i++) {
        const char *type = enclave_type(page.items[i]);
        if (type == NULL)
            continue;
        count(statuses, status_of(api, page.items[i]));
        count(types, type);
        total++;
    }
    for (const struct stopped *s = stopped_first(api->stopped); s != NULL; s = s->next) {
        if (!is_gone(api, s))
            continue;
        count(statuses, "stopped");
        count(types, s->type);
        total++;
    }
    unsigned pool = enclave_pool_size(api->pool);
    return json_pack("{s:s, s:I, s:o, s:o, s:b, s:n, s:i, s:b, s:b}", "manager_type", "native",
                     "total_sandboxes", total, "status_counts", statuses, "sandbox_types", types,
                     "running", 1, "cleanup_interval", "pool_size", (int)pool, "pool_enabled",
                     pool > 0, "pool_initialized", pool > 0);
}
