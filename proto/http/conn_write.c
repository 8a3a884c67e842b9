/* Output: writing at once, watching for stalls, and pulling producers. */
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "proto/http/conn_priv.h"

#define WRITE_MAX 262144 /* per system call */

size_t conn_pending(const struct conn *c)
{
    return c->bev ? evbuffer_get_length(bufferevent_get_output(c->bev)) : 0;
}

/* A socket takes more only when a good part of its buffer is free, so a slow reader moves the kernel's share for
 * minutes before ours moves again. */
size_t conn_unread(const struct conn *c)
{
    int queued = 0;

    if (!c->bev || ioctl(c->fd, SIOCOUTQ, &queued) < 0)
        queued = 0;
    return conn_pending(c) + (size_t)queued;
}

void conn_flush(struct conn *c)
{
    struct evbuffer *out;
    size_t before, after;
    int r;

    if (!c->bev || c->broken || !c->direct)
        return;
    out = bufferevent_get_output(c->bev);
    before = evbuffer_get_length(out);
    if (before == 0)
        return;
    /* Bufferevents freeze the front of their output against anyone else; on this thread nobody else is. */
    (void)evbuffer_unfreeze(out, 1);
    r = evbuffer_write_atmost(out, c->fd, WRITE_MAX);
    (void)evbuffer_freeze(out, 1);
    if (r < 0 && errno != EAGAIN && errno != EINTR) {
        conn_break(c);
        return;
    }
    after = evbuffer_get_length(out);
    if (after < before || c->out_ms == 0)
        c->out_ms = conn_now_ms();
    if (after == 0)
        bufferevent_disable(c->bev, EV_WRITE);
    else
        conn_enable(c, EV_WRITE);
}

/* Calls proceed while it produces and the peer takes it; false when either has to be waited for. */
bool conn_step_produce(struct conn *c)
{
    struct req_resp *r = &c->req.resp;
    uint64_t before = r->bytes;

    if (!r->stream || r->ended || r->idle || !r->producer.proceed)
        return false;
    size_t low = r->drain_first ? 1 : c->server->config.limits.out_low;
    if (conn_pending(c) >= low) {
        conn_flush(c);
        if (conn_pending(c) >= low)
            return false;
    }
    r->drain_first = false;
    r->idle = true; /* http_resp_wake inside proceed clears it */
    r->producer.proceed(r->arg);
    if (r->bytes != before || r->drain_first)
        r->idle = false;
    if (r->drain_first && conn_pending(c) > 0)
        return r->ended;
    return !r->idle || r->ended;
}
