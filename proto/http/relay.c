/*
 * Two byte streams with one state: what the client still sends goes to the backend's output, what the backend
 * answers goes to the response. Each side is paused while the other's output is above its high watermark and
 * resumed below the low one, so a relay holds at most two buffers and two watermarks of bytes.
 *
 * The relay lives from relay_start until the request ends (on_close), however it ends: that is the only place
 * where it is freed, and it never runs below one of its own callbacks.
 */
#include "proto/http/relay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/http/conn_priv.h"
#include "proto/http/relay_head.h"
#include "proto/http/reply.h"
#include "proto/http/upstream.h"
#include "proto/http/upstream_pool.h"

#define CONNECT_MS 5000
#define REPLY_HEAD_MAX 65536
#define INTERIM_MAX 8
#define UP_HIGH 262144
#define UP_LOW 65536

struct relay {
    struct http_req *req;   /* borrowed; valid until on_close */
    struct bufferevent *up; /* owned; NULL once the backend is done or gone */
    struct event *timer;    /* owned */
    struct reply reply;
    struct relay_target target; /* strings owned */
    char *head;                 /* owned: the request's head, to be sent again; NULL = never */
    size_t head_len;
    char *location_prefix; /* owned; NULL = none */
    void (*on_close)(void *arg);
    void *on_close_arg;
    int connect_ms, first_byte_ms, idle_ms;
    int64_t since_ms; /* of the phase: connecting or waiting for the head */
    int64_t moved_ms; /* last byte either way */
    unsigned interim; /* 1xx heads seen */
    bool given;       /* the connection came with the target: it serves this request and no other */
    bool connected, upgrade, answered, over;
    bool up_eof, up_deaf; /* the backend has sent its FIN; reads no more of the request */
    bool has_body, chunked_body, body_paused, body_sent;
};

/* ---- the end -------------------------------------------------------------------------------------- */

static void close_backend(struct relay *r)
{
    if (r->up)
        bufferevent_free(r->up);
    r->up = NULL;
    if (r->timer)
        (void)event_del(r->timer); /* cannot fail for an initialised event */
}

static void on_request_closed(void *arg)
{
    struct relay *r = arg;

    close_backend(r);
    if (r->timer)
        event_free(r->timer);
    reply_done(&r->reply);
    free((char *)r->target.unix_path);
    free((char *)r->target.address);
    if (r->target.fd > 0)
        close(r->target.fd);
    free(r->head);
    free(r->location_prefix);
    if (r->on_close)
        r->on_close(r->on_close_arg);
    free(r);
}

/* Answers an error, or cuts a response that has begun: it is never ended as if it were whole. */
static void fail(struct relay *r, const struct err *err)
{
    if (r->over)
        return;
    r->over = true;
    close_backend(r);
    (void)http_resp_error(r->req, err); /* H_DONE: nobody to hand it to */
}

static void fail_text(struct relay *r, int code, int errnum, const char *text)
{
    struct err err = {0};

    (void)err_set(&err, code, errnum, "%s", text); /* a value */
    fail(r, &err);
}

/* ---- the request's body --------------------------------------------------------------------------- */

static int on_body_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct relay *r = arg;
    struct evbuffer *out = r->up ? bufferevent_get_output(r->up) : NULL;
    char size[24];

    (void)err;
    r->moved_ms = clock_monotonic_ms();
    if (!out || r->up_deaf)
        return 0; /* the backend wants no more of it; its answer is on the way */
    if (r->chunked_body) {
        (void)snprintf(size, sizeof(size), "%zx\r\n", n); /* fits */
        (void)evbuffer_add(out, size, strlen(size)); /* without memory the next add fails too */
    }
    if (evbuffer_add(out, p, n) < 0)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the relay");
    if (r->chunked_body)
        (void)evbuffer_add(out, "\r\n", 2); /* as above */
    if (evbuffer_get_length(out) >= UP_HIGH) {
        r->body_paused = true;
        http_req_pause_body(r->req);
    }
    return 0;
}

static void on_body_end(void *arg, const struct err *err)
{
    struct relay *r = arg;

    if (err) {
        /* The backend must not take half a body for a whole one: its connection is cut as well. */
        r->over = true;
        close_backend(r);
    } else if (r->up) {
        r->body_sent = true;
        if (r->chunked_body)
            (void)evbuffer_add(bufferevent_get_output(r->up), "0\r\n\r\n", 5); /* as above */
    }
}

/* ---- the response --------------------------------------------------------------------------------- */

static void on_proceed(void *arg)
{
    struct relay *r = arg;

    if (r->up && !r->over && !(bufferevent_get_enabled(r->up) & EV_READ)) {
        bufferevent_enable(r->up, EV_READ);
        bufferevent_trigger(r->up, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
    }
}

static void begin_response(struct relay *r)
{
    static const struct http_producer producer = {on_proceed, NULL};
    const struct head *h = &r->reply.head;

    r->answered = true;
    relay_head_pass_fields(r->req, h, r->location_prefix);
    if (http_resp_header_overflowed(r->req)) {
        fail_text(r, ERR_BACKEND_RESPONSE_FAILED, EBADMSG,
                  "the backend's answer has too large a head");
        return;
    }
    (void)http_resp_begin(r->req, h->status, NULL, h->content_length, &producer, r); /* H_STREAM */
}

/* Both sides become bytes. The client's bufferevent leaves the connection, which ends the request. */
static void begin_tunnel(struct relay *r)
{
    struct http_server *server = r->req->conn->server;
    struct bufferevent *up = take_ptr(&r->up), *client;

    r->over = r->answered = true;
    client = http_req_hijack(r->req);
    if (!client) {
        bufferevent_free(up);
        return;
    }
    relay_head_write_switch(bufferevent_get_output(client), &r->reply.head);
    tunnel_start(server, client, up, r->idle_ms);
}

static void take_head(struct relay *r)
{
    const struct head *h = &r->reply.head;

    if (h->status == 101) {
        if (r->upgrade && head_is_websocket(h))
            begin_tunnel(r);
        else
            fail_text(r, ERR_BACKEND_RESPONSE_FAILED, EBADMSG,
                      "the backend switched protocols unasked");
    } else if (h->status < 200) {
        if (++r->interim > INTERIM_MAX)
            fail_text(r, ERR_BACKEND_RESPONSE_FAILED, EBADMSG,
                      "the backend sends interim answers only");
    } else {
        begin_response(r);
    }
}

/* Both sides are done with this exchange and nothing hangs over into the next. */
static bool may_serve_again(const struct relay *r)
{
    return !r->given && r->reply.head.keep_alive && !r->reply.until_close && !r->up_eof &&
           !r->up_deaf && (!r->has_body || r->body_sent) &&
           evbuffer_get_length(bufferevent_get_input(r->up)) == 0 &&
           evbuffer_get_length(bufferevent_get_output(r->up)) == 0;
}

static void end_response(struct relay *r)
{
    r->over = true;
    if (may_serve_again(r))
        upstream_pool_give(r->req->conn->server->upstreams, &r->target, take_ptr(&r->up));
    close_backend(r);
    http_resp_end(r->req);
}

/* Moves what the backend has sent as far as the client takes it. */
static void pump(struct relay *r)
{
    while (!r->over && r->up) {
        struct evbuffer *in = bufferevent_get_input(r->up);
        struct slice data;
        struct err err = {0};
        size_t used;

        if (r->answered && !http_resp_wants_more(r->req)) {
            bufferevent_disable(r->up, EV_READ);
            return;
        }
        switch (reply_next(&r->reply, in, r->up_eof, &data, &used, &err)) {
        case REPLY_MORE:
            return;
        case REPLY_HEAD:
            take_head(r);
            break;
        case REPLY_DATA:
            http_resp_write(r->req, data.ptr, data.len);
            (void)evbuffer_drain(in, used); /* these bytes are there */
            break;
        case REPLY_END:
            end_response(r);
            return;
        case REPLY_BAD:
            fail(r, &err);
            return;
        }
    }
}

/* ---- events --------------------------------------------------------------------------------------- */

static void arm(struct relay *r);
static int open_backend(struct relay *r, struct err *err);

static void on_up_read(struct bufferevent *bev, void *arg)
{
    struct relay *r = arg;

    (void)bev;
    r->moved_ms = clock_monotonic_ms();
    pump(r);
}

static void on_up_written(struct bufferevent *bev, void *arg)
{
    struct relay *r = arg;

    (void)bev;
    r->moved_ms = clock_monotonic_ms();
    if (r->body_paused && !r->over) {
        r->body_paused = false;
        http_req_resume_body(r->req);
    }
}

/* Only now is the client's body asked for: a backend that is not there costs the client no upload. */
static void connected(struct relay *r)
{
    static const struct http_body_ops ops = {on_body_data, on_body_end};

    r->connected = true;
    r->since_ms = r->moved_ms = clock_monotonic_ms();
    if (r->has_body)
        http_req_read_body(r->req, &ops, r);
    arm(r);
}

/* A connection from the pool that the backend closes at this moment has answered nothing: the request goes out again,
 * on a new one. */
static bool try_again(struct relay *r)
{
    struct err err = {0};

    if (!r->head || r->answered || r->over || r->reply.scan.total > 0 ||
        evbuffer_get_length(bufferevent_get_input(r->up)) > 0)
        return false;
    close_backend(r);
    if (open_backend(r, &err) < 0) {
        fail(r, &err);
        return true;
    }
    (void)evbuffer_add(bufferevent_get_output(r->up), r->head,
                       r->head_len); /* out of memory shows as a broken request at the backend */
    free(take_ptr(&r->head));        /* once */
    return true;
}

static void on_up_event(struct bufferevent *bev, short what, void *arg)
{
    struct relay *r = arg;

    if (!(what & BEV_EVENT_CONNECTED) && try_again(r))
        return;
    if (what & BEV_EVENT_CONNECTED) {
        connected(r);
        return;
    }
    if (!r->connected) {
        fail_text(r, ERR_BACKEND_CONNECTION_FAILED, ECONNREFUSED,
                  "the backend does not accept connections");
        return;
    }
    if ((what & BEV_EVENT_WRITING) && (what & BEV_EVENT_ERROR)) {
        /* It reads no more of the request, yet it may have answered: the rest of the body goes nowhere. */
        r->up_deaf = true;
        on_up_written(bev, r);
        return;
    }
    if (what & BEV_EVENT_EOF) {
        r->up_eof = true;
        pump(r);
        return;
    }
    pump(r); /* a reset: what arrived before it, then a cut */
    fail_text(r, ERR_BACKEND_RESPONSE_FAILED, ECONNRESET, "the backend broke the connection");
}

/* The earliest deadline that holds now; 0 = none. */
static int64_t deadline(const struct relay *r)
{
    int64_t at = 0, idle = r->idle_ms ? r->moved_ms + r->idle_ms : 0;

    if (!r->connected)
        return r->since_ms + r->connect_ms;
    if (!r->answered && r->first_byte_ms)
        at = r->since_ms + r->first_byte_ms;
    return at == 0 || (idle != 0 && idle < at) ? idle : at;
}

static void arm(struct relay *r)
{
    int64_t at = deadline(r), delay = MAX(at - clock_monotonic_ms(), (int64_t)1);
    struct timeval tv = {.tv_sec = delay / 1000, .tv_usec = (delay % 1000) * 1000};

    if (at != 0)
        (void)event_add(r->timer, &tv); /* no memory: no deadline, the client's own remains */
    else
        (void)event_del(r->timer); /* cannot fail for an initialised event */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct relay *r = arg;
    int64_t at = deadline(r);

    (void)fd;
    (void)what;
    if (r->over)
        return;
    if (at == 0 || clock_monotonic_ms() < at)
        arm(r);
    else
        fail_text(r, ERR_BACKEND_TIMEOUT, ETIMEDOUT,
                  r->connected ? "the backend did not answer in time"
                               : "connecting to the backend took too long");
}

/* ---- backends: new ones, and those that wait ------------------------------------------------------- */

static void use_backend(struct relay *r)
{
    bufferevent_setcb(r->up, on_up_read, on_up_written, on_up_event, r);
    bufferevent_setwatermark(r->up, EV_READ, 0, MAX(CONN_READ_MAX, REPLY_HEAD_MAX + 1));
    bufferevent_setwatermark(r->up, EV_WRITE, UP_LOW, 0);
    bufferevent_enable(r->up, EV_READ | EV_WRITE);
}

static int open_backend(struct relay *r, struct err *err)
{
    int result = upstream_open(http_req_base(r->req), &r->target, &r->up, err);

    r->target.fd = -1; /* taken */
    if (result < 0)
        return result;
    r->connected = false;
    r->since_ms = clock_monotonic_ms();
    use_backend(r);
    arm(r);
    return 0;
}

/* Methods that ask and change nothing may be asked twice (RFC 9110 9.2.1). */
static bool may_be_repeated(const struct relay *r)
{
    const char *method = http_req_method(r->req);

    return !r->has_body && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 ||
                            strcmp(method, "OPTIONS") == 0);
}

static bool reuse_backend(struct relay *r)
{
    if (r->upgrade || r->given)
        return false;
    r->up = upstream_pool_take(r->req->conn->server->upstreams, &r->target);
    /* The backend may be closing it right now, and then nobody knows whether it has acted. It is closed all the same:
     * a backend that serves one connection at a time must be free for the new one. */
    if (r->up && !may_be_repeated(r))
        bufferevent_free(take_ptr(&r->up));
    if (r->up)
        use_backend(r);
    return r->up != NULL;
}

/* Keeps a copy of what a reused connection may lose. */
static void keep_head(struct relay *r, struct evbuffer *head)
{
    r->head_len = evbuffer_get_length(head);
    r->head = malloc(r->head_len);
    if (r->head)
        (void)evbuffer_copyout(head, r->head, r->head_len); /* these bytes are there */
}

/* ---- start ---------------------------------------------------------------------------------------- */

static struct relay *relay_new(struct http_req *req, const struct relay_target *t,
                               const struct relay_options *o)
{
    struct relay *r = xnew(struct relay);

    r->req = req;
    r->timer = evtimer_new(http_req_base(req), on_timer, r);
    r->target = (struct relay_target){.unix_path = t->unix_path ? xstrdup(t->unix_path) : NULL,
                                      .address = t->address ? xstrdup(t->address) : NULL,
                                      .port = t->port,
                                      .fd = t->fd};
    r->given = t->fd > 0;
    r->location_prefix = o->location_prefix ? xstrdup(o->location_prefix) : NULL;
    r->on_close = o->on_close;
    r->on_close_arg = o->on_close_arg;
    r->connect_ms = o->connect_ms > 0 ? o->connect_ms : CONNECT_MS;
    r->first_byte_ms = o->first_byte_ms;
    r->idle_ms = o->idle_ms;
    r->since_ms = r->moved_ms = clock_monotonic_ms();
    r->upgrade = head_is_websocket(&req->head);
    r->has_body = req->head.chunked || req->head.content_length > 0;
    r->chunked_body = req->head.chunked;
    reply_init(&r->reply, http_req_is_head(req), REPLY_HEAD_MAX);
    http_req_on_close(req, on_request_closed, r);
    return r;
}

/* A target ends up in a request line: blanks or control bytes in it would write another one. */
static bool target_is_safe(const char *target)
{
    for (const char *p = target; *p; p++) {
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f)
            return false;
    }
    return target[0] == '/';
}

/* The first bytes are written before the connection stands; a body is asked for only then. */
static int start(struct relay *r, const struct relay_options *options, struct evbuffer *head,
                 struct err *err)
{
    bool reused = reuse_backend(r);
    int result = reused ? 0 : open_backend(r, err);

    if (result < 0)
        return result;
    relay_head_write_request(head, r->req, options, r->upgrade);
    if (reused && may_be_repeated(r))
        keep_head(r, head);
    (void)evbuffer_add_buffer(bufferevent_get_output(r->up),
                              head); /* moves; fails for frozen buffers only */
    if (reused)
        connected(r);
    return 0;
}

enum http_result relay_start(struct http_req *req, const struct relay_target *target,
                             const struct relay_options *options)
{
    struct err err = {0};
    struct evbuffer *head;
    struct relay *r;
    int result;

    r = relay_new(req, target, options);
    head = evbuffer_new();
    if (!options->target || !target_is_safe(options->target))
        result = err_set(&err, ERR_BAD_REQUEST, EINVAL, "this path cannot be forwarded");
    else if (!r->timer || !head)
        result = err_set(&err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the relay");
    else
        result = start(r, options, head, &err);
    if (head)
        evbuffer_free(head);
    if (result < 0) {
        r->over = true;
        (void)http_resp_error(req, &err); /* H_DONE: nobody to hand it to */
    }
    return H_WAIT;
}
