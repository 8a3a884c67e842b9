#include "proto/http/relay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/loop_delay.h"
#include "proto/http/relay_head.h"
#include "proto/http/relay_priv.h"

#define CONNECT_MS 5000
#define UP_HIGH 262144

/* ---- the end -------------------------------------------------------------------------------------- */

void relay_close_backend(struct relay *r)
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

    relay_close_backend(r);
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

void relay_fail(struct relay *r, const struct err *err)
{
    if (r->over)
        return;
    r->over = true;
    relay_close_backend(r);
    (void)http_resp_error(r->req, err); /* H_DONE: nobody to hand it to */
}

void relay_fail_text(struct relay *r, int code, int errnum, const char *text)
{
    struct err err = {0};

    (void)err_set(&err, code, errnum, "%s", text); /* a value */
    relay_fail(r, &err);
}

/* ---- the request's body --------------------------------------------------------------------------- */

static int on_body_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct relay *r = arg;
    struct evbuffer *out = r->up ? bufferevent_get_output(r->up) : NULL;
    char size[24];

    (void)err;
    r->moved_ms = loop_clock_ms();
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
        relay_close_backend(r);
    } else if (r->up) {
        r->body_sent = true;
        if (r->chunked_body)
            (void)evbuffer_add(bufferevent_get_output(r->up), "0\r\n\r\n", 5); /* as above */
    }
}

const struct http_body_ops relay_body_ops = {on_body_data, on_body_end};

/* ---- start ---------------------------------------------------------------------------------------- */

static struct relay *relay_new(struct http_req *req, const struct relay_target *t,
                               const struct relay_options *o)
{
    struct relay *r = xnew(struct relay);

    r->req = req;
    r->timer = evtimer_new(http_req_base(req), relay_on_timer, r);
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
    r->since_ms = r->moved_ms = loop_clock_ms();
    r->upgrade = head_is_websocket(&req->head);
    r->has_body = req->head.chunked || req->head.content_length > 0;
    r->chunked_body = req->head.chunked;
    reply_init(&r->reply, http_req_is_head(req), RELAY_REPLY_HEAD_MAX);
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
    bool reused = relay_reuse_backend(r);
    int result = reused ? 0 : relay_open_backend(r, err);

    if (result < 0)
        return result;
    relay_head_write_request(head, r->req, options, r->upgrade);
    if (reused)
        relay_keep_head(r, head);
    (void)evbuffer_add_buffer(bufferevent_get_output(r->up),
                              head); /* moves; fails for frozen buffers only */
    if (reused)
        relay_connected(r);
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
