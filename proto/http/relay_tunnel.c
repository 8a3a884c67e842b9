/*
 * Two bufferevents that feed each other, after 101: a WebSocket through the relay.
 *
 * A side is not read while the other side's output is above the high watermark. A FIN is passed on behind the
 * last byte (half-close); the tunnel ends when both sides have sent theirs, or when nothing moved for idle_ms. A side
 * that breaks takes nothing more, and what it has said before still reaches the other one, if that one reads on.
 * Tunnels belong to the server, which frees what is left of them.
 */
#include <sys/socket.h>

#include "proto/base/loop_delay.h"
#include "proto/http/conn_priv.h"
#include "proto/http/watch.h"

#define TUNNEL_HIGH 262144
#define TUNNEL_LOW 65536

struct side {
    struct tunnel *tunnel;   /* borrowed: embeds this */
    struct bufferevent *bev; /* owned */
    struct side *other;
    bool eof, shut; /* nothing more comes from it; nothing more goes to it */
};

struct tunnel {
    struct http_server *server; /* borrowed: owns this */
    LIST_ENTRY(tunnel) link;
    struct side sides[2];
    struct event *timer; /* owned */
    int idle_ms;         /* 0 = none */
    int64_t moved_ms;
};

static void tunnel_free(struct tunnel *t)
{
    LIST_REMOVE(t, link);
    t->server->n_sockets--;
    for (int i = 0; i < 2; i++)
        bufferevent_free(t->sides[i].bev);
    if (t->timer)
        event_free(t->timer);
    free(t);
}

void tunnel_free_all(struct http_server *server)
{
    while (!LIST_EMPTY(&server->tunnels))
        tunnel_free(LIST_FIRST(&server->tunnels));
}

/* Passes a FIN on once everything before it has left. True: the tunnel is over (and freed). While a side may still be
 * sending it is not closed, even if nothing more goes to it: that would reset it, and what is on its way to it is lost. */
static bool settle(struct tunnel *t)
{
    for (int i = 0; i < 2; i++) {
        struct side *s = &t->sides[i];

        if (s->eof && !s->other->shut &&
            evbuffer_get_length(bufferevent_get_output(s->other->bev)) == 0) {
            s->other->shut = true;
            (void)shutdown(bufferevent_getfd(s->other->bev),
                           SHUT_WR); /* failing: it is gone already */
        }
    }
    for (int i = 0; i < 2; i++) {
        if (!t->sides[i].shut || !t->sides[i].eof)
            return false;
    }
    tunnel_free(t);
    return true;
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct side *s = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer *out = bufferevent_get_output(s->other->bev);

    if (s->other->shut) {
        (void)evbuffer_drain(in, evbuffer_get_length(in)); /* nobody reads this */
        return;
    }
    s->tunnel->moved_ms = loop_clock_ms();
    (void)evbuffer_add_buffer(out, in); /* moves chains, needs no memory */
    if (evbuffer_get_length(out) >= TUNNEL_HIGH)
        bufferevent_disable(bev, EV_READ);
}

/* This side took bytes: the other may be read again. */
static void on_written(struct bufferevent *bev, void *arg)
{
    struct side *s = arg;

    (void)bev;
    s->tunnel->moved_ms = loop_clock_ms();
    if (!s->other->eof && !(bufferevent_get_enabled(s->other->bev) & EV_READ))
        watch_enable(s->other->bev, EV_READ);
    (void)settle(s->tunnel); /* either way nothing is left to do here */
}

static void arm(struct tunnel *t)
{
    int64_t delay = MAX(t->moved_ms + t->idle_ms - loop_clock_ms(), (int64_t)1);
    struct timeval tv = {.tv_sec = delay / 1000, .tv_usec = (delay % 1000) * 1000};

    if (t->timer && t->idle_ms > 0)
        (void)event_add(t->timer, &tv); /* no memory: no deadline */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct tunnel *t = arg;

    (void)fd;
    (void)what;
    if (loop_clock_ms() - t->moved_ms >= t->idle_ms)
        tunnel_free(t);
    else
        arm(t);
}

/* The other side gets what there is for it, and as much time as any slow reader. */
static void side_broke(struct side *s, bool deaf_only)
{
    struct tunnel *t = s->tunnel;
    struct evbuffer *out = bufferevent_get_output(s->bev);

    s->shut = true;
    s->eof |= !deaf_only;
    /* Bufferevents freeze the front of their output against anyone else; on this thread nobody else is. */
    (void)evbuffer_unfreeze(out, 1);
    (void)evbuffer_drain(out, evbuffer_get_length(out));
    (void)evbuffer_freeze(out, 1);
    t->idle_ms = t->server->config.limits.write_stall_ms;
    t->moved_ms = loop_clock_ms();
    arm(t);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct side *s = arg;

    if (what & BEV_EVENT_EOF)
        s->eof = true;
    else
        side_broke(s, what & BEV_EVENT_WRITING);
    on_read(bev, s); /* what arrived with the FIN */
    (void)settle(s->tunnel);
}

void tunnel_start(struct http_server *server, struct bufferevent *client,
                  struct bufferevent *backend, int idle_ms)
{
    struct tunnel *t = xnew(struct tunnel);
    struct bufferevent *bevs[2] = {client, backend};

    t->server = server;
    t->idle_ms = idle_ms;
    t->moved_ms = loop_clock_ms();
    LIST_INSERT_HEAD(&server->tunnels, t, link);
    server->n_sockets++;
    t->timer = evtimer_new(server->base, on_timer, t);
    arm(t);
    for (int i = 0; i < 2; i++) {
        t->sides[i] = (struct side){.tunnel = t, .bev = bevs[i], .other = &t->sides[1 - i]};
        bufferevent_setwatermark(bevs[i], EV_READ, 0, CONN_READ_MAX);
        bufferevent_setwatermark(bevs[i], EV_WRITE, TUNNEL_LOW, 0);
        bufferevent_setcb(bevs[i], on_read, on_written, on_event, &t->sides[i]);
        watch_enable(bevs[i], EV_READ | EV_WRITE);
        /* Bytes that came right behind the two heads are already here. */
        bufferevent_trigger(bevs[i], EV_READ,
                            BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
    }
}
