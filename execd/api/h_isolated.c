#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/api/isolated.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/version.h"
#include "proto/http/resp.h"
#include "proto/json/json_build.h"

#define LANDLOCK_ABI_WITH_SCOPES 6

struct isolate_session *isolated_find(struct http_req *req, struct api *api, enum http_result *ret)
{
    const char *id = http_req_param(req, "sessionId");
    struct isolate_session *s = isolate_find(api->isolated, id);

    if (s == NULL)
        *ret = http_resp_fail(req, ERR_SESSION_NOT_FOUND, "isolated session %.64s not found", id);
    return s;
}

json_t *isolated_time(int64_t wall_us)
{
    char text[CLOCK_RFC3339_MAX];

    clock_format_us(wall_us, text);
    return json_string(text);
}

/* ---- create ---- */

/* A client whose session is being set up. */
struct creation {
    struct http_req *req;
    struct isolate_session *session; /* NULL when it is told */
};

static void on_client_gone(void *arg)
{
    struct creation *c = arg;

    if (c->session != NULL)
        isolate_abandon(c->session);
    free(c);
}

static json_t *created_json(struct isolate_session *s)
{
    struct session_status status;
    json_t *o = json_deep_copy(isolate_echo(s));

    session_get_status(isolate_shell(s), &status);
    json_put(&o, "session_id", json_string(isolate_id(s)));
    json_put(&o, "created_at", isolated_time(status.created_us));
    return o;
}

static void on_created(void *arg, struct isolate_session *s, const struct err *err)
{
    struct creation *c = arg;

    c->session = NULL;
    if (s == NULL)
        (void)http_resp_error(c->req, err);
    else if (http_resp_made(c->req, 201, created_json(s)) < 0)
        isolate_delete(s);
}

enum http_result h_isolated_create(struct http_req *req, void *app)
{
    struct api *api = app;
    struct slice body = http_req_body(req);
    struct isolate_request request = {0};
    struct err err = {0};

    if (isolate_request_decode(body.ptr, body.len, http_req_arena(req), &request, &err) < 0)
        return http_resp_error(req, &err);
    struct creation *c = xnew(struct creation);
    c->req = req;
    if (isolate_create(api->isolated, &request, on_created, c, &c->session, &err) < 0) {
        free(c);
        return http_resp_error(req, &err);
    }
    http_req_on_close(req, on_client_gone, c);
    return H_WAIT;
}

/* ---- get, list, delete ---- */

static void set_state(json_t **o, struct isolate_session *s)
{
    struct session_status status;
    int64_t idle_left = isolate_idle_left(s);

    session_get_status(isolate_shell(s), &status);
    json_put(o, "status", json_string(isolate_is_dead(s) ? "dead" : "active"));
    json_put(o, "created_at", isolated_time(status.created_us));
    /* Clients ask for a time even where nothing has run. */
    json_put(o, "last_run_at",
             isolated_time(status.last_run_us > 0 ? status.last_run_us : status.created_us));
    if (idle_left >= 0)
        json_put(o, "idle_remaining_seconds", json_integer(idle_left));
}

enum http_result h_isolated_get(struct http_req *req, void *app)
{
    enum http_result result;
    struct isolate_session *s = isolated_find(req, app, &result);

    if (s == NULL)
        return result;
    json_t *o = json_deep_copy(isolate_echo(s));
    json_put(&o, "session_id", json_string(isolate_id(s)));
    set_state(&o, s);
    return http_resp_json(req, 200, o);
}

static void add_to_list(struct isolate_session *s, void *arg)
{
    json_t *o = json_object();

    json_put(&o, "session_id", json_string(isolate_id(s)));
    set_state(&o, s);
    json_push(arg, o);
}

enum http_result h_isolated_list(struct http_req *req, void *app)
{
    struct api *api = app;
    json_t *list = json_array();

    isolate_each(api->isolated, add_to_list, &list);
    return http_resp_json(req, 200, json_pack("{s:o}", "sessions", list));
}

enum http_result h_isolated_delete(struct http_req *req, void *app)
{
    enum http_result result;
    struct isolate_session *s = isolated_find(req, app, &result);

    if (s == NULL)
        return result;
    isolate_delete(s);
    return http_resp_empty(req, 200);
}

/* ---- capabilities ---- */

struct question {
    struct http_req *req;
    struct api *api;
};

static void on_asker_gone(void *arg)
{
    struct question *q = arg;

    isolate_probe_forget(q->api->isolated, q);
    free(q);
}

static json_t *layer(const char *state, const char *message)
{
    json_t *o = json_pack("{s:s}", "state", state);

    if (message != NULL)
        json_put(&o, "message", json_string(message));
    return o;
}

static json_t *hardening(const struct isolate_reply *reply)
{
    bool is_init = getpid() == 1, scoped = reply->landlock >= LANDLOCK_ABI_WITH_SCOPES;
    json_t *o = json_object();

    json_put(&o, "init_mode", json_string(is_init ? "pid1" : "subreaper"));
    json_put(&o, "signal_shield", json_boolean(is_init));
    json_put(&o, "cap_drop", layer("active", NULL));
    json_put(&o, "seccomp", layer("active", NULL));
    json_put(&o, "landlock",
             scoped ? layer("active", NULL)
                    : layer("unsupported", "needs Landlock ABI 6 for scopes; the mounts "
                                           "confine files without it"));
    json_put(&o, "ebpf", layer("unsupported", "not part of this agent"));
    return o;
}

static void on_probed(void *arg, const struct isolate_reply *reply)
{
    struct question *q = arg;
    struct http_req *req = q->req;
    json_t *o = json_object();

    json_put(&o, "available", json_boolean(reply->ok));
    json_put(&o, "isolator", json_string("execd"));
    json_put(&o, "version", json_string(version_text()));
    json_put(&o, "setpriv_available", json_boolean(reply->ok));
    json_put(&o, "userns_available", json_boolean(reply->userns));
    json_put(&o, "commit_supported", json_boolean(reply->ok));
    json_put(&o, "diff_supported", json_boolean(reply->ok));
    if (!reply->ok)
        json_put(&o, "message", json_string(reply->message != NULL ? reply->message : "unknown"));
    else if (!reply->own_proc)
        json_put(&o, "message",
                 json_string("/proc is the sandbox's own: the kernel refuses a new one "
                             "where parts of the present one are masked"));
    if (reply->ok)
        json_put(&o, "hardening", hardening(reply));
    http_req_on_close(req, NULL, NULL);
    free(q);
    (void)http_resp_json(req, 200, o);
}

enum http_result h_isolated_capabilities(struct http_req *req, void *app)
{
    struct api *api = app;
    struct question *q = xnew(struct question);

    *q = (struct question){req, api};
    http_req_on_close(req, on_asker_gone, q);
    isolate_probe(api->isolated, on_probed, q);
    return H_WAIT;
}
