#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execd/api/isolated.h"
#include "execd/api/log_page.h"
#include "execd/api/stream.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"
#include "proto/json/json_build.h"

#define CODE_MAX (2 * 1024 * 1024)

struct run_body {
    const char *code;
    struct jmap envs;
    int64_t timeout_seconds;
    bool background;
};
static const struct jfield run_fields[] = {
    JFIELD(struct run_body, code, JFIELD_STRING, .max = CODE_MAX, .flags = JFIELD_REQUIRED,
           .doc = "text for the shell"),
    JFIELD(struct run_body, envs, JFIELD_MAP, .max = 10000, .doc = "variables of this run"),
    JFIELD(struct run_body, timeout_seconds, JFIELD_I64, .min = 0, .max = INT64_MAX / 1000000000,
           .doc = "0 = none"),
    JFIELD(struct run_body, background, JFIELD_BOOL),
};

/* A client that leaves interrupts its run. */
struct viewer {
    struct api *api;
    char session[ID_UUID_LEN + 1], run[ID_UUID_LEN + 1];
};

static void on_stream_end(void *arg, bool complete)
{
    struct viewer *v = arg;
    struct isolate_session *s = complete ? NULL : isolate_find(v->api->isolated, v->session);
    struct session_run *run = s != NULL ? session_find_run(isolate_shell(s), v->run) : NULL;
    struct err ignored; /* it has ended meanwhile */

    if (run != NULL)
        (void)!session_interrupt(isolate_shell(s), run, &ignored);
    free(v);
}

static enum http_result answer_background(struct http_req *req, struct isolate_session *s,
                                          const struct session_run *run)
{
    int64_t now = clock_wall_us();
    const char *id = session_run_id(run);
    json_t *o = json_object();

    isolate_note_run(s, id, now);
    json_put(&o, "session_id", json_string(isolate_id(s)));
    json_put(&o, "run_id", json_string(id));
    json_put(&o, "started_at", isolated_time(now));
    return http_resp_json(req, 202, o);
}

static int check(const struct run_body *body, const struct isolate_session *s, struct err *err)
{
    if (body->code[0] == '\0')
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "code: must not be empty");
    if (body->background && !isolate_takes_background(s))
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "background: the first overlay keeps nothing that is written, so there is "
                       "no place for a log");
    return 0;
}

enum http_result h_isolated_run(struct http_req *req, void *app)
{
    struct api *api = app;
    struct slice text = http_req_body(req);
    struct run_body body = {0};
    struct session_run *run;
    struct channel *channel;
    enum http_result result;
    struct err err = {0};

    if (jfield_decode_text(run_fields, ARRAY_LEN(run_fields), text.ptr, text.len, false, &body,
                           http_req_arena(req), ERR_INVALID_REQUEST_BODY, NULL, &err) < 0)
        return http_resp_error(req, &err);
    struct isolate_session *s = isolated_find(req, api, &result);
    if (s == NULL)
        return result;
    if (isolate_is_working(s))
        return http_resp_fail(req, ERR_ISOLATED_BUSY, "the layers of session %.64s are being read",
                              isolate_id(s));
    const struct session_run_request request = {.command = body.code,
                                                .envs = body.envs,
                                                .timeout_ms = body.timeout_seconds * 1000,
                                                .separate = true,
                                                .background = body.background};
    if (check(&body, s, &err) < 0 ||
        session_start_run(isolate_shell(s), &request, &run, &channel, &err) < 0)
        return http_resp_error(req, &err);
    if (body.background) {
        channel_unref(channel);
        return answer_background(req, s, run);
    }
    struct viewer *v = xnew(struct viewer);
    v->api = api;
    memcpy(v->session, isolate_id(s), sizeof(v->session));
    memcpy(v->run, session_run_id(run), sizeof(v->run));
    return api_stream_watched(req, api, channel, v->run, on_stream_end, v);
}

/* ---- background runs ---- */

static enum http_result no_run(struct http_req *req)
{
    return http_resp_fail(req, ERR_RUN_NOT_FOUND, "run %.64s not found",
                          http_req_param(req, "runId"));
}

/* The session went with all that was known about its runs, but that they were. */
static enum http_result lost_run(struct http_req *req, const struct api *api)
{
    const char *session = http_req_param(req, "sessionId"), *run = http_req_param(req, "runId");
    int64_t started = isolate_lost_run(api->isolated, session, run);

    if (started == 0)
        return no_run(req);
    json_t *o = json_object();
    json_put(&o, "session_id", json_string(session));
    json_put(&o, "run_id", json_string(run));
    json_put(&o, "running", json_false());
    json_put(&o, "started_at", isolated_time(started));
    json_put(&o, "error", json_string("session terminated"));
    return http_resp_json(req, 200, o);
}

static struct session_run *find_run(struct http_req *req, struct api *api)
{
    struct isolate_session *s = isolate_find(api->isolated, http_req_param(req, "sessionId"));

    return s != NULL ? session_find_run(isolate_shell(s), http_req_param(req, "runId")) : NULL;
}

enum http_result h_isolated_run_status(struct http_req *req, void *app)
{
    const struct session_run *run = find_run(req, app);
    struct session_run_status status;

    if (run == NULL)
        return lost_run(req, app);
    session_run_get_status(run, &status);
    json_t *o = json_object();
    json_put(&o, "session_id", json_string(http_req_param(req, "sessionId")));
    json_put(&o, "run_id", json_string(session_run_id(run)));
    json_put(&o, "running", json_boolean(status.running));
    json_put(&o, "started_at",
             isolated_time(status.started_us > 0 ? status.started_us : clock_wall_us()));
    if (status.has_exit_code)
        json_put(&o, "exit_code", json_integer(status.exit_code));
    if (status.error != NULL)
        json_put(&o, "error", json_string(status.error));
    if (status.finished_us > 0)
        json_put(&o, "finished_at", isolated_time(status.finished_us));
    return http_resp_json(req, 200, o);
}

enum http_result h_isolated_run_logs(struct http_req *req, void *app)
{
    const struct session_run *run = find_run(req, app);
    const char *text = http_req_query(req, "cursor", 0);
    struct session_run_status status;
    uint64_t cursor = 0;

    if (run == NULL)
        return no_run(req);
    session_run_get_status(run, &status);
    if (status.log == NULL)
        return no_run(req);
    if (text != NULL && str_to_u64(text, &cursor) < 0)
        return http_resp_fail(req, ERR_INVALID_QUERY, "cursor: expected a byte offset, got '%.24s'",
                              text);
    cursor = MIN(cursor, spool_size(status.log));
    return api_log_page(req, status.log, cursor, "EXECD-ISOLATED-TAIL-CURSOR");
}
