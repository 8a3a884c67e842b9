#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execd/api/stream.h"
#include "execd/proc/environment.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/http/resp.h"
#include "proto/json/json_build.h"

/* Message prefixes of contracts/execd.md 1.4. */
#define PARSE_PREFIX "error parsing request. "
#define VALIDATE_PREFIX "invalid request. "
#define RUN_PREFIX "error running in session. "
#define CREATE_PREFIX "error creating session. "

#define COMMAND_MAX (2 * 1024 * 1024)

struct create_body {
    const char *cwd;
    struct jmap envs;
};
static const struct jfield create_fields[] = {
    JFIELD(struct create_body, cwd, JFIELD_STRING, .max = 4095,
           .doc = "where the shell starts; made when it is not there"),
    JFIELD(struct create_body, envs, JFIELD_MAP, .max = 10000, .doc = "variables of the shell"),
};

struct run_body {
    const char *command, *cwd;
    int64_t timeout;
    bool merge_stderr, has_merge;
};
static const struct jfield run_fields[] = {
    JFIELD(struct run_body, command, JFIELD_STRING, .max = COMMAND_MAX,
           .doc = "text for the shell"),
    JFIELD(struct run_body, cwd, JFIELD_STRING, .max = 4095, .doc = "changed to first, and kept"),
    JFIELD(struct run_body, timeout, JFIELD_I64, .min = 0, .max = INT64_MAX / 1000000,
           .doc = "milliseconds, 0 = none"),
    JFIELD(struct run_body, merge_stderr, JFIELD_BOOL,
           .has_offset = offsetof(struct run_body, has_merge),
           .doc = "stderr inside stdout, in order (default)"),
};

static int decode(struct http_req *req, const struct jfield *fields, size_t n_fields,
                  bool allow_empty, void *target, struct err *err)
{
    struct slice body = http_req_body(req);
    struct err detail = {0};

    if (jfield_decode_text(fields, n_fields, body.ptr, body.len, allow_empty, target,
                           http_req_arena(req), ERR_INVALID_REQUEST_BODY, NULL, &detail) < 0)
        return err_set(err, detail.code, EINVAL, PARSE_PREFIX "%.200s", detail.text);
    return 0;
}

enum http_result h_session_create(struct http_req *req, void *app)
{
    struct api *api = app;
    struct create_body body = {0};
    struct session *session;
    struct err err = {0};

    if (decode(req, create_fields, ARRAY_LEN(create_fields), true, &body, &err) < 0)
        return http_resp_error(req, &err);
    const struct session_request request = {.cwd = body.cwd, .envs = &body.envs};
    if (session_create(api->sessions, &request, &session, &err) < 0)
        return http_resp_fail(req, err.code, CREATE_PREFIX "%s", err.text);
    if (http_resp_made(req, 200, json_pack("{s:s}", "session_id", session_id(session))) < 0)
        session_delete(session);
    return H_DONE;
}

static json_t *time_json(int64_t wall_us)
{
    char text[CLOCK_RFC3339_MAX];

    clock_format_us(wall_us, text);
    return json_string(text);
}

static json_t *session_json(const struct session *s)
{
    struct session_status status;

    session_get_status(s, &status);
    json_t *o = json_object();
    json_put(&o, "session_id", json_string(session_id(s)));
    if (session_language(s) != NULL)
        json_put(&o, "language", json_string(session_language(s)));
    json_put(&o, "running", json_boolean(status.busy));
    json_put(&o, "alive", json_boolean(status.alive));
    json_put(&o, "queued", json_integer(status.queued));
    json_put(&o, "runs", json_integer((json_int_t)status.runs));
    json_put(&o, "restarts", json_integer((json_int_t)status.restarts));
    json_put(&o, "stray_bytes", json_integer((json_int_t)status.stray_bytes));
    json_put(&o, "cwd", json_text(status.cwd));
    json_put(&o, "created_at", time_json(status.created_us));
    if (status.last_run_us > 0)
        json_put(&o, "last_run_at", time_json(status.last_run_us));
    return o;
}

static void add_to_list(struct session *s, void *arg)
{
    json_push(arg, session_json(s));
}

enum http_result h_session_list(struct http_req *req, void *app)
{
    struct api *api = app;
    json_t *list = json_array();

    session_each(api->sessions, add_to_list, &list);
    return http_resp_json(req, 200, json_pack("{s:o}", "sessions", list));
}

static struct session *find(struct http_req *req, struct api *api, enum http_result *ret)
{
    const char *id = http_req_param(req, "sessionId");
    struct session *s = session_find(api->sessions, id);

    if (s == NULL)
        *ret = http_resp_fail(req, ERR_SESSION_NOT_FOUND, "session %.64s not found", id);
    return s;
}

enum http_result h_session_get(struct http_req *req, void *app)
{
    enum http_result result;
    struct session *s = find(req, app, &result);

    return s != NULL ? http_resp_json(req, 200, session_json(s)) : result;
}

enum http_result h_session_delete(struct http_req *req, void *app)
{
    enum http_result result;
    struct session *s = find(req, app, &result);

    if (s == NULL)
        return result;
    session_delete(s);
    return http_resp_empty(req, 200);
}

/* ---- runs ---- */

/* A client of the raw framing cannot come back: when it leaves, its run is interrupted (contracts/execd.md 2.3). */
struct viewer {
    struct api *api;
    char session[ID_UUID_LEN + 1], run[ID_UUID_LEN + 1];
};

static void on_stream_end(void *arg, bool complete)
{
    struct viewer *v = arg;
    struct session *s = complete ? NULL : session_find(v->api->sessions, v->session);
    struct session_run *run = s != NULL ? session_find_run(s, v->run) : NULL;
    struct err ignored; /* it has ended meanwhile */

    if (run != NULL)
        (void)!session_interrupt(s, run, &ignored);
    free(v);
}

static int check_run(struct http_req *req, const struct run_body *body,
                     struct session_run_request *request, struct err *err)
{
    const char *const *envp;

    if (body->command == NULL || body->command[0] == '\0')
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       VALIDATE_PREFIX
                       "Key: 'RunInSessionRequest.Command' Error:Field validation for "
                       "'Command' failed on the 'required' tag");
    *request = (struct session_run_request){.command = body->command,
                                            .timeout_ms = body->timeout,
                                            .separate = body->has_merge && !body->merge_stderr};
    if (body->cwd == NULL || body->cwd[0] == '\0')
        return 0;
    int rc = environment_build(http_req_arena(req), NULL, &envp, err);
    return rc < 0
               ? rc
               : environment_resolve_cwd(http_req_arena(req), body->cwd, envp, &request->cwd, err);
}

enum http_result h_session_run(struct http_req *req, void *app)
{
    struct api *api = app;
    struct run_body body = {0};
    struct session_run_request request;
    struct session_run *run;
    struct channel *channel;
    struct err err = {0};

    if (decode(req, run_fields, ARRAY_LEN(run_fields), false, &body, &err) < 0 ||
        check_run(req, &body, &request, &err) < 0)
        return http_resp_error(req, &err);
    struct session *s = session_find(api->sessions, http_req_param(req, "sessionId"));
    if (s == NULL)
        return http_resp_fail(req, ERR_SESSION_NOT_FOUND, RUN_PREFIX "context not found");
    if (session_start_run(s, &request, &run, &channel, &err) < 0)
        return http_resp_fail(req, err.code, RUN_PREFIX "%s", err.text);
    const char *run_id = session_run_id(run);
    if (sse_choose(req, SSE_RAW) == SSE_STANDARD)
        return api_stream(req, api, channel, run_id, STREAM_LINES);
    struct viewer *v = xnew(struct viewer);
    v->api = api;
    memcpy(v->session, session_id(s), sizeof(v->session));
    memcpy(v->run, run_id, sizeof(v->run));
    return api_stream_watched(req, api, channel, run_id, on_stream_end, v);
}
