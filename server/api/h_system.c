#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/metrics_text.h"
#include "proto/base/process_metrics.h"
#include "proto/base/version.h"
#include "proto/http/server_metrics.h"
#include "proto/json/jfield.h"
#include "server/api/enclave.h"
#include "server/api/handlers.h"

#define METRICS_MAX (256 * 1024)

enum http_result h_health(struct http_req *req, void *app)
{
    struct api *api = app;
    struct err err;
    json_t *health = json_pack("{s:s, s:b}", "status", "healthy", "healthy", 1);

    if (health != NULL && enclave_is_asked(req) && api_authorize(req, NULL, app, &err) == 0) {
        json_t *stats = enclave_stats(api, http_req_arena(req));
        json_object_set_new(health, "version", json_string(version_text()));
        json_object_set_new(
            health, "uptime",
            json_real((double)(clock_boottime_ms() - api->started_boot_ms) / 1000.0));
        json_object_set(health, "active_sandboxes", json_object_get(stats, "total_sandboxes"));
        json_object_set_new(health, "system_info", stats);
    }
    return http_resp_json(req, 200, health);
}

enum http_result h_version(struct http_req *req, void *app)
{
    (void)app;
    return http_resp_json(req, 200, json_pack("{s:s}", "version", version_text()));
}

enum http_result h_templates(struct http_req *req, void *app)
{
    (void)app;
    return http_resp_fail(req, ERR_FSB_NOT_SUPPORTED, "templates require the kubernetes runtime");
}

enum http_result h_snapshots(struct http_req *req, void *app)
{
    (void)app;
    return http_resp_fail(req, ERR_SNAPSHOT_NOT_IMPLEMENTED, "the native runtime has no snapshots");
}

struct client_event {
    const char *type, *sandbox_id, *image;
    int64_t duration_ms;
    bool success;
};

#define EVENT_FIELD(wire, member, kind_, ...)                                                      \
    {                                                                                              \
        .name = (wire), .kind = (kind_), .offset = offsetof(struct client_event, member),          \
        __VA_ARGS__                                                                                \
    }

static const struct jfield client_event_fields[] = {
    EVENT_FIELD("eventType", type, JFIELD_STRING, .flags = JFIELD_REQUIRED, .min = 1, .max = 64),
    EVENT_FIELD("createDurationMs", duration_ms, JFIELD_I64, .flags = JFIELD_REQUIRED,
                .max = INT64_MAX),
    EVENT_FIELD("success", success, JFIELD_BOOL, .flags = JFIELD_REQUIRED),
    EVENT_FIELD("sandboxId", sandbox_id, JFIELD_STRING, .max = 128),
    EVENT_FIELD("image", image, JFIELD_STRING, .max = 512),
};

enum http_result h_client_event(struct http_req *req, void *app)
{
    struct api *api = app;
    struct client_event event;
    struct slice body = http_req_body(req);
    struct err err = {0};

    if (jfield_decode_text(client_event_fields, ARRAY_LEN(client_event_fields), body.ptr, body.len,
                           false, &event, http_req_arena(req), ERR_VALIDATION, NULL, &err) < 0)
        return http_resp_error(req, &err);
    if (strcmp(event.type, "sandbox.create") != 0)
        return http_resp_fail(req, ERR_VALIDATION, "eventType: expected 'sandbox.create'");
    api->client_creates[event.success]++;
    api->client_create_ms += (uint64_t)event.duration_ms;
    return http_resp_empty(req, 204);
}

static void sandbox_metrics(struct strbuf *out, enum metric_format f,
                            const struct lifecycle_counts *c)
{
    metric_family(out, f, "execd_server_sandboxes", METRIC_GAUGE, NULL, "Sandboxes by state.");
    for (unsigned s = 0; s < SANDBOX_STATE_MAX; s++)
        metric_sample(out, f, "execd_server_sandboxes", METRIC_GAUGE, c->by_state[s], "state",
                      sandbox_state_name((enum sandbox_state)s), NULL);
    metric_one(out, f, "execd_server_sandboxes_created", METRIC_COUNTER, NULL, "Sandboxes created.",
               (double)c->created);
    metric_one(out, f, "execd_server_sandbox_creates_failed", METRIC_COUNTER, NULL,
               "Creations that failed.", (double)c->create_failed);
    metric_one(out, f, "execd_server_sandboxes_removed", METRIC_COUNTER, NULL,
               "Sandboxes removed, for any reason.", (double)c->deleted);
    metric_one(out, f, "execd_server_sandboxes_expired", METRIC_COUNTER, NULL,
               "Sandboxes whose lifetime ran out.", (double)c->expired);
    metric_one(out, f, "execd_server_sandboxes_exited", METRIC_COUNTER, NULL,
               "Sandboxes that ended by themselves.", (double)c->exited);
    metric_one(out, f, "execd_server_last_create_seconds", METRIC_GAUGE, "seconds",
               "Time the latest creation took.", (double)c->last_create_us / 1e6);
}

static void client_metrics(struct strbuf *out, enum metric_format f, const struct api *api)
{
    metric_family(out, f, "execd_server_client_creates", METRIC_COUNTER, NULL,
                  "Creations as clients reported them.");
    metric_sample(out, f, "execd_server_client_creates", METRIC_COUNTER,
                  (double)api->client_creates[true], "success", "true", NULL);
    metric_sample(out, f, "execd_server_client_creates", METRIC_COUNTER,
                  (double)api->client_creates[false], "success", "false", NULL);
    metric_one(out, f, "execd_server_client_create_seconds", METRIC_COUNTER, "seconds",
               "Time of creations as clients reported it, summed.",
               (double)api->client_create_ms / 1e3);
}

enum http_result h_metrics(struct http_req *req, void *app)
{
    struct api *api = app;
    int asked = metric_negotiate(http_req_header(req, "Accept"));
    enum metric_format f = asked == METRIC_OPENMETRICS ? METRIC_OPENMETRICS : METRIC_PROMETHEUS;
    struct lifecycle_counts counts;
    cleanup_strbuf struct strbuf out;

    strbuf_init(&out, METRICS_MAX);
    lifecycle_counts(api->lifecycle, &counts);
    metric_family(&out, f, "execd_server_build", METRIC_INFO, NULL, "Version of the server.");
    metric_sample(&out, f, "execd_server_build", METRIC_INFO, 1, "version", version_text(), NULL);
    sandbox_metrics(&out, f, &counts);
    client_metrics(&out, f, api);
    http_server_write_metrics(api->server, "execd_server", &out, f);
    loop_delay_write_metrics("execd_server", &out, f);
    process_write_metrics(&out, f, api->started_wall_ms);
    metric_end(&out, f);
    if (strbuf_check(&out) < 0)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "the metrics do not fit");
    return http_resp_data(req, 200, metric_content_type(f), out.data, out.len);
}
