/*
 * A tiny program around proto/http for black-box tests: one route per way of answering and of reading a body.
 *
 *   [CONNS_MAX=N] [STALL_MS=N] http_harness ADDRESS [BACKEND_PORT]     prints "port N" and serves until SIGTERM (then drains)
 *
 * Not installed; built by the tests that use it.
 */
#include <event2/buffer.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/relay.h"
#include "proto/http/resp.h"
#include "proto/http/server.h"
#include "proto/http/sse.h"
#include "proto/http/ws_conn.h"

struct app {
    struct event_base *base;
    struct http_server *server;
    const char *address; /* of the relay's backend */
    uint16_t backend;
    unsigned ws_code;        /* of the WebSocket that was closed last */
    unsigned opened, closed; /* streams begun and ended: leaks show as a difference */
};

static enum http_result get_ping(struct http_req *req, void *app)
{
    (void)app;
    return http_resp_empty(req, 200);
}

static enum http_result get_stats(struct http_req *req, void *arg)
{
    struct app *app = arg;
    struct http_server_stats s;

    http_server_get_stats(app->server, &s);
    return http_resp_json(req, 200,
                          json_pack("{s:I, s:I, s:I, s:i, s:i, s:i}", "requests",
                                    (json_int_t)s.requests, "accepted", (json_int_t)s.accepted,
                                    "rejected", (json_int_t)s.rejected, "open", (int)s.open_conns,
                                    "unclosed", (int)(app->opened - app->closed), "ws_code",
                                    (int)app->ws_code));
}

/* Answers what was asked: method, path, query values of "q", parameter, body. */
static enum http_result any_echo(struct http_req *req, void *app)
{
    struct slice body = http_req_body(req);
    json_t *values = json_array();
    const char *value;

    (void)app;
    for (size_t i = 0; (value = http_req_query(req, "q", i)); i++)
        json_array_append_new(values, json_string(value));
    if (http_req_query(req, "q", 0))
        http_resp_header(req, "X-First", http_req_query(req, "q", 0));
    return http_resp_json(req, 200,
                          json_pack("{s:s, s:s, s:s?, s:o, s:s%, s:s}", "method",
                                    http_req_method(req), "path", http_req_raw_path(req), "name",
                                    http_req_param(req, "name"), "q", values, "body", body.ptr,
                                    body.len, "peer", http_req_peer(req)));
}

/* ---- a stream of n bytes, or an endless one ------------------------------------------------------ */

struct stream {
    struct app *app;
    struct http_req *req;
    struct event *timer;
    uint64_t left;
    bool endless;
};

static void stream_proceed(void *arg)
{
    static const char block[16384] = {0};
    struct stream *s = arg;
    size_t n = s->left < sizeof(block) ? (size_t)s->left : sizeof(block);

    http_resp_write(s->req, block, n);
    if (!s->endless)
        s->left -= n;
    if (s->left == 0)
        http_resp_end(s->req);
}

static void stream_stop(void *arg)
{
    struct stream *s = arg;

    s->app->closed++;
    if (s->timer)
        event_free(s->timer);
    free(s);
}

static struct stream *stream_new(struct http_req *req, struct app *app)
{
    struct stream *s = xnew(struct stream);
    const char *n = http_req_query(req, "n", 0);

    s->app = app;
    s->req = req;
    s->left = n ? strtoull(n, NULL, 10) : 1;
    s->endless = n && strcmp(n, "endless") == 0;
    if (s->endless)
        s->left = UINT64_MAX;
    app->opened++;
    return s;
}

static enum http_result get_stream(struct http_req *req, void *app)
{
    static const struct http_producer producer = {stream_proceed, stream_stop};
    struct stream *s = stream_new(req, app);
    bool sized = http_req_query(req, "sized", 0);

    return http_resp_begin(req, 200, "application/octet-stream", sized ? (int64_t)s->left : -1,
                           &producer, s);
}

/* Breaks off after half of what it promised. */
static enum http_result get_abort(struct http_req *req, void *app)
{
    static const struct http_producer producer = {NULL, stream_stop};
    struct stream *s = stream_new(req, app);

    (void)http_resp_begin(req, 200, "text/plain", -1, &producer, s);
    http_resp_write(req, "half", 4);
    http_resp_abort(req);
    return H_STREAM;
}

/* Written from outside, without a proceed: at most n bytes every 20 ms, as far as they are taken. */
static void tick(evutil_socket_t fd, short what, void *arg)
{
    static const char block[65536] = {0};
    struct stream *s = arg;

    (void)fd;
    (void)what;
    if (http_resp_wants_more(s->req))
        http_resp_write(s->req, block, s->left < sizeof(block) ? (size_t)s->left : sizeof(block));
}

static enum http_result get_ticks(struct http_req *req, void *app)
{
    static const struct http_producer producer = {NULL, stream_stop};
    static const struct timeval pause = {0, 20000};
    struct stream *s = stream_new(req, app);

    s->timer = event_new(s->app->base, -1, EV_PERSIST, tick, s);
    event_add(s->timer, &pause);
    return http_resp_begin(req, 200, "application/octet-stream", -1, &producer, s);
}

/* ---- waiting: answers after ?ms= ----------------------------------------------------------------- */

static void wait_over(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;

    (void)fd;
    (void)what;
    (void)http_resp_data(s->req, 200, "text/plain", "waited", 6);
}

static enum http_result get_wait(struct http_req *req, void *app)
{
    struct stream *s = stream_new(req, app);
    const char *ms = http_req_query(req, "ms", 0);
    long delay = ms ? strtol(ms, NULL, 10) : 50;
    struct timeval tv = {delay / 1000, (delay % 1000) * 1000};

    s->timer = evtimer_new(s->app->base, wait_over, s);
    event_add(s->timer, &tv);
    http_req_on_close(req, stream_stop, s);
    return H_WAIT;
}

/* ---- a counted upload ---------------------------------------------------------------------------- */

static int count_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct stream *s = arg;

    s->left += n;
    if (memchr(p, '!', n))
        return err_set(err, ERR_INVALID_FILE_CONTENT, 22, "an exclamation mark is not welcome");
    return 0;
}

static void count_end(void *arg, const struct err *err)
{
    struct stream *s = arg;

    if (err)
        (void)http_resp_error(s->req, err);
    else
        (void)http_resp_json(s->req, 200, json_pack("{s:I}", "bytes", (json_int_t)s->left));
}

static enum http_result post_count(struct http_req *req, void *app)
{
    static const struct http_body_ops ops = {count_data, count_end};
    struct stream *s = stream_new(req, app);

    s->left = 0;
    http_req_on_close(req, stream_stop, s);
    http_req_read_body(req, &ops, s);
    return H_WAIT;
}

/* ---- an upload whose reader rests for half a second, and answers a moment after its end ------------ */

static void slow_goes_on(evutil_socket_t fd, short what, void *arg)
{
    struct stream *s = arg;

    (void)fd;
    (void)what;
    http_req_resume_body(s->req);
}

static int slow_data(void *arg, const char *p, size_t n, struct err *err)
{
    static const struct timeval rest = {0, 500000};
    struct stream *s = arg;

    (void)p;
    (void)n;
    (void)err;
    if (s->timer)
        return 0;
    s->timer = evtimer_new(s->app->base, slow_goes_on, s);
    event_add(s->timer, &rest);
    http_req_pause_body(s->req);
    return 0;
}

static void slow_end(void *arg, const struct err *err)
{
    static const struct timeval moment = {0, 50000};
    struct stream *s = arg;

    if (err) {
        (void)http_resp_error(s->req, err);
        return;
    }
    event_free(s->timer);
    s->timer = evtimer_new(s->app->base, wait_over, s);
    event_add(s->timer, &moment);
}

static enum http_result post_slow(struct http_req *req, void *app)
{
    static const struct http_body_ops ops = {slow_data, slow_end};
    struct stream *s = stream_new(req, app);

    http_req_on_close(req, stream_stop, s);
    http_req_read_body(req, &ops, s);
    return H_WAIT;
}

static enum http_result get_sse(struct http_req *req, void *app)
{
    struct evbuffer *b = evbuffer_new();
    enum sse_framing framing = sse_choose(req, SSE_RAW);

    (void)app;
    sse_headers(req);
    (void)http_resp_begin(req, 200, NULL, -1, NULL, NULL);
    sse_frame(b, framing, "1", "init", "{\"type\":\"init\"}", 15);
    sse_frame(b, framing, NULL, "stdout", "{\"type\":\"stdout\"}", 17);
    http_resp_write_buffer(req, b);
    evbuffer_free(b);
    http_resp_end(req);
    return H_STREAM;
}

static enum http_result any_relay(struct http_req *req, void *arg)
{
    struct app *app = arg;
    struct relay_target target = {.address = app->address, .port = app->backend};
    const char *query = http_req_raw_query(req);
    char *path = arena_printf(http_req_arena(req), "/%s%s%s", http_req_param(req, "rest"),
                              *query ? "?" : "", query);
    static const char *const drop[] = {"X-Secret", NULL};
    static const char *const add[][2] = {{"X-Added", "yes"}, {NULL, NULL}};
    struct relay_options options = {.target = path,
                                    .drop = drop,
                                    .add = add,
                                    .location_prefix = "/relay",
                                    .first_byte_ms = 2000,
                                    .idle_ms = 5000,
                                    .forwarded = true};

    return relay_start(req, &target, &options);
}

/* ---- WebSocket: an echo, or with ?flood=1 a source without end; ?fast=1 has deadlines for tests ---- */

struct socket {
    struct app *app;
    struct ws_conn *ws;
    bool flood;
};

static void socket_fill(void *arg)
{
    static const char block[16384] = {0};
    struct socket *s = arg;

    while (s->flood && ws_conn_wants_more(s->ws))
        ws_conn_send(s->ws, WS_BINARY, &(struct slice){block, sizeof(block)}, 1);
}

static bool says(const struct ws_message *m, const char *text)
{
    return m->len == strlen(text) && memcmp(m->data, text, m->len) == 0;
}

static void socket_message(void *arg, const struct ws_message *m)
{
    struct socket *s = arg;

    if (says(m, "close me"))
        ws_conn_close(s->ws, 4321, "as you wish");
    else if (says(m, "abort me"))
        ws_conn_abort(s->ws);
    else if (says(m, "pause"))
        ws_conn_pause(s->ws, true);
    else
        ws_conn_send(s->ws, m->opcode, &(struct slice){m->data, m->len}, 1);
}

static void socket_close(void *arg, uint16_t code)
{
    struct socket *s = arg;

    s->app->closed++;
    s->app->ws_code = code;
    free(s);
}

static enum http_result get_ws(struct http_req *req, void *arg)
{
    static const struct ws_handlers handlers = {socket_message, socket_fill, socket_close};
    static const char *const subprotocols[] = {"chat.v2", "chat.v1", NULL};
    struct ws_options options = {.subprotocols = subprotocols};
    struct app *app = arg;
    struct err err = {0};
    struct socket *s;

    if (http_req_query(req, "fast", 0)) {
        options.ping_ms = 200;
        options.dead_ms = 1000;
        options.stall_ms = 1000;
        options.close_ms = 300;
    }
    if (http_req_query(req, "close_ms", 0))
        options.close_ms = atoi(http_req_query(req, "close_ms", 0));
    if (ws_check_handshake(req, &err) < 0 || ws_check_origin(req, NULL, &err) < 0)
        return http_resp_error(req, &err);
    s = xnew(struct socket);
    s->app = app;
    s->flood = http_req_query(req, "flood", 0);
    if (ws_conn_accept(req, &options, &handlers, s, &s->ws, &err) < 0) {
        free(s);
        return http_resp_error(req, &err);
    }
    app->opened++;
    socket_fill(s);
    return H_DONE;
}

static const struct route routes[] = {
    {"GET", "/ping", AUTH_OPEN, BODY_NONE, 0, get_ping, "alive"},
    {"GET", "/stats", AUTH_REQUIRED, BODY_NONE, 0, get_stats, "counters"},
    {"*", "/echo", AUTH_REQUIRED, BODY_COLLECTED, 65536, any_echo, "what was asked"},
    {"POST", "/small", AUTH_REQUIRED, BODY_COLLECTED, 16, any_echo, "a small body"},
    {"GET", "/echo/:name", AUTH_REQUIRED, BODY_NONE, 0, any_echo, "a path parameter"},
    {"GET", "/rest/*name", AUTH_REQUIRED, BODY_NONE, 0, any_echo, "the rest of a path"},
    {"GET", "/stream", AUTH_REQUIRED, BODY_NONE, 0, get_stream, "n bytes"},
    {"GET", "/ticks", AUTH_REQUIRED, BODY_NONE, 0, get_ticks, "n bytes now and then"},
    {"GET", "/abort", AUTH_REQUIRED, BODY_NONE, 0, get_abort, "half an answer"},
    {"GET", "/wait", AUTH_REQUIRED, BODY_NONE, 0, get_wait, "an answer later"},
    {"POST", "/count", AUTH_REQUIRED, BODY_STREAMED, 0, post_count, "counts a body"},
    {"POST", "/slow", AUTH_REQUIRED, BODY_STREAMED, 0, post_slow, "a reader that rests"},
    {"POST", "/count100k", AUTH_REQUIRED, BODY_STREAMED, 100000, post_count,
     "counts a body up to a limit"},
    {"POST", "/sse", AUTH_REQUIRED, BODY_NONE, 0, get_sse, "two events"},

    {"GET", "/ws", AUTH_REQUIRED, BODY_NONE, 0, get_ws, "a WebSocket"},
    {"*", "/relay/*rest", AUTH_REQUIRED, BODY_STREAMED, 0, any_relay, "the backend"},

};

static int authorize(struct http_req *req, const struct route *route, void *app, struct err *err)
{
    const char *token = http_req_header(req, "X-Token");

    (void)route;
    (void)app;
    if (token && strcmp(token, "wrong") == 0)
        return err_set(err, ERR_UNAUTHORIZED, 13, "wrong token");
    return 0;
}

static void on_drained(void *arg)
{
    event_base_loopbreak(arg);
}

static void on_term(evutil_socket_t fd, short what, void *arg)
{
    struct app *app = arg;

    (void)fd;
    (void)what;
    http_server_drain(app->server, 2000, on_drained, app->base);
}

static unsigned read_env(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);

    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    struct app app = {.base = event_base_new(), .address = "127.0.0.1"};
    struct http_server_config config = {
        .routes = routes, .n_routes = ARRAY_LEN(routes), .app = &app, .authorize = authorize};
    struct event *term = evsignal_new(app.base, SIGTERM, on_term, &app);
    struct err err = {0};
    int port;

    config.limits.head_deadline_ms = 2000; /* tests have little time */
    config.limits.idle_ms = 4000;
    config.limits.conns_max = read_env("CONNS_MAX", config.limits.conns_max);
    config.limits.write_stall_ms = (int)read_env("STALL_MS", 3000);
    app.backend = argc > 2 ? (uint16_t)strtoul(argv[2], NULL, 10) : 0;
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2 || http_server_new(app.base, &config, &app.server) < 0 ||
        http_server_listen(app.server, argv[1], &port, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    event_add(term, NULL);
    printf("port %d\n", port);
    fflush(stdout);
    loop_delay_start();
    event_base_dispatch(app.base);
    http_server_free(app.server);
    event_free(term);
    event_base_free(app.base);
    return app.opened == app.closed ? 0 : 3;
}
