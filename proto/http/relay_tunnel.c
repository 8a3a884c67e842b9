/*
 * Two bufferevents that feed each other, after 101: a WebSocket through the relay.
 *
 * A side is not read while the other side's output is above the high watermark. A FIN is passed on behind the
 * last byte (half-close); the tunnel ends when both sides have sent theirs, on any error, or when nothing
 * moved for idle_ms. Tunnels belong to the server, which frees what is left of them.
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
    bool eof, shut; /* has sent its FIN; was sent ours */
};

struct tunnel {
    struct http_server *server; /* borrowed: owns this */
    LIST_ENTRY(tunnel) link;
    struct side sides[2];
    struct event *timer; /* owned; NULL without idle_ms */
    int idle_ms;
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

/* Passes a FIN on once everything before it has left. True: the tunnel is over (and freed). */
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
    if (!t->sides[0].shut || !t->sides[1].shut)
        return false;
    tunnel_free(t);
    return true;
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct side *s = arg;
    struct evbuffer *out = bufferevent_get_output(s->other->bev);

    s->tunnel->moved_ms = loop_clock_ms();
    (void)evbuffer_add_buffer(out, bufferevent_get_input(bev)); /* moves chains, needs no memory */
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

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct side *s = arg;

    if (!(what & BEV_EVENT_EOF)) {
        tunnel_free(s->tunnel);
        return;
    }
    s->eof = true;
    on_read(bev, s); /* what arrived with the FIN */
    (void)settle(s->tunnel);
}

static void arm(struct tunnel *t)
{
    int64_t delay = MAX(t->moved_ms + t->idle_ms - loop_clock_ms(), (int64_t)1);
    struct timeval tv = {.tv_sec = delay / 1000, .tv_usec = (delay % 1000) * 1000};

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
    if (idle_ms > 0) {
        t->timer = evtimer_new(server->base, on_timer, t);
        if (t->timer)
            arm(t);
    }
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
