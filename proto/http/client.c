#include "proto/http/client.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/cleanup.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/reply.h"
#include "proto/http/upstream.h"
#include "proto/http/watch.h"

#define HEAD_MAX 16384
#define INTERIM_MAX 8

struct http_call {
    struct bufferevent *up; /* owned; NULL when it failed at once or is done */
    struct event *timer;    /* owned: the deadline, then the posted end */
    struct reply reply;
    struct strbuf body;
    http_call_fn on_done;
    void *arg;
    int64_t deadline_ms; /* of loop_clock_ms */
    unsigned interim;
    bool connected, eof, over;
    int status;
    struct err err;
};

void http_call_cancel(struct http_call *call)
{
    if (!call)
        return;
    if (call->up)
        bufferevent_free(call->up);
    if (call->timer)
        event_free(call->timer);
    reply_done(&call->reply);
    strbuf_done(&call->body);
    free(call);
}

static void deliver(struct http_call *call)
{
    struct slice body = {call->body.data ? call->body.data : "", call->body.len};

    call->on_done(call->arg, call->status, body, call->status == 0 ? &call->err : NULL);
    http_call_cancel(call);
}

/* The callback is posted: it may start the next call or free whatever started this one. */
static void finish(struct http_call *call, int status)
{
    call->over = true;
    call->status = status;
    if (call->up)
        bufferevent_free(call->up);
    call->up = NULL;
    event_active(call->timer, EV_READ, 0);
}

static void fail(struct http_call *call, int code, int errnum, const char *text)
{
    (void)err_set(&call->err, code, errnum, "%s", text); /* kept for on_done */
    finish(call, 0);
}

static int arm(struct http_call *call)
{
    int64_t ms = MAX(call->deadline_ms - loop_clock_ms(), (int64_t)1);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    return event_add(call->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct http_call *call = arg;

    (void)fd;
    (void)what;
    if (!call->over && loop_clock_ms() < call->deadline_ms && arm(call) == 0)
        return;
    if (!call->over)
        fail(call, ERR_BACKEND_TIMEOUT, ETIMEDOUT, "no answer in time");
    else
        deliver(call);
}

static void pump(struct http_call *call)
{
    while (!call->over) {
        struct evbuffer *in = bufferevent_get_input(call->up);
        struct slice data;
        size_t used;

        switch (reply_next(&call->reply, in, call->eof, &data, &used, &call->err)) {
        case REPLY_MORE:
            return;
        case REPLY_HEAD:
            if (call->reply.head.status == 101 ||
                (call->reply.head.status < 200 && ++call->interim > INTERIM_MAX))
                fail(call, ERR_BACKEND_RESPONSE_FAILED, EBADMSG, "unexpected interim answers");
            break;
        case REPLY_DATA:
            strbuf_add(&call->body, data.ptr, data.len);
            (void)evbuffer_drain(in, used); /* these bytes are there */
            if (call->body.failed)
                fail(call, ERR_BACKEND_RESPONSE_FAILED, EFBIG, "the answer is too large");
            break;
        case REPLY_END:
            finish(call, call->reply.head.status);
            return;
        case REPLY_BAD:
            finish(call, 0);
            return;
        }
    }
}

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    pump(arg);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct http_call *call = arg;

    (void)bev;
    if (call->over)
        return;
    if (what & BEV_EVENT_CONNECTED) {
        call->connected = true;
        return;
    }
    if (!call->connected) {
        fail(call, ERR_BACKEND_CONNECTION_FAILED, ECONNREFUSED,
             "the peer does not accept connections");
        return;
    }
    if (what & BEV_EVENT_WRITING)
        return; /* it reads no more, yet it may have answered */
    call->eof = (what & BEV_EVENT_EOF) != 0;
    pump(call);
    if (!call->over && !call->eof)
        fail(call, ERR_BACKEND_RESPONSE_FAILED, ECONNRESET, "the peer broke the connection");
}

static void put_field(struct evbuffer *out, const char *name, const char *value)
{
    (void)evbuffer_add_printf(out, "%s: %s\r\n", name,
                              value); /* out of memory: the peer answers 400 */
}

static void write_request(struct http_call *call, const char *method, const char *path,
                          const char *const (*headers)[2], struct slice body)
{
    struct evbuffer *out = bufferevent_get_output(call->up);

    (void)evbuffer_add_printf(out, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
                              method, path);
    for (size_t i = 0; headers && headers[i][0]; i++)
        put_field(out, headers[i][0], headers[i][1]);
    if (body.len > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0)
        (void)evbuffer_add_printf(out, "Content-Length: %zu\r\n", body.len); /* as in put_field */
    (void)evbuffer_add(out, "\r\n", 2);
    (void)evbuffer_add(out, body.ptr, body.len);
}

int http_call_start(struct event_base *base, const struct relay_target *target, const char *method,
                    const char *path, const char *const (*headers)[2], struct slice body,
                    size_t max_body, int timeout_ms, http_call_fn on_done, void *arg,
                    struct http_call **ret_call)
{
    struct http_call *call = xnew(struct http_call);

    call->on_done = on_done;
    call->arg = arg;
    call->deadline_ms = loop_clock_ms() + timeout_ms;
    reply_init(&call->reply, strcmp(method, "HEAD") == 0, HEAD_MAX);
    strbuf_init(&call->body, max_body > 0 ? max_body : 1);
    call->timer = evtimer_new(base, on_timer, call);
    if (!call->timer || arm(call) < 0) {
        http_call_cancel(call);
        return -ENOMEM;
    }
    *ret_call = call;
    if (upstream_open(base, target, &call->up, &call->err) < 0) {
        finish(call, 0);
        return 0;
    }
    bufferevent_setcb(call->up, on_read, NULL, on_event, call);
    bufferevent_setwatermark(call->up, EV_READ, 0, 65536);
    write_request(call, method, path, headers, body);
    watch_enable(call->up, EV_READ | EV_WRITE);
    return 0;
}
