#include "proto/http/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/http/conn_priv.h"
#include "proto/http/listen.h"
#include "proto/http/upstream_pool.h"

static const struct http_limits limits_default = {
    .head_max = 32768,
    .fields_max = HEAD_FIELDS_MAX,
    .head_deadline_ms = 10000,
    .idle_ms = 75000,
    .body_rate_min = 512,
    .out_high = 262144,
    .out_low = 65536,
    .write_stall_ms = 60000,
    .conns_max = 4096,
    .conns_reserve = 16,
};

static void fill_limits(struct http_limits *l)
{
    const struct http_limits *d = &limits_default;

#define TAKE(field) l->field = l->field ? l->field : d->field
    TAKE(head_max);
    TAKE(fields_max);
    TAKE(head_deadline_ms);
    TAKE(idle_ms);
    TAKE(body_rate_min);
    TAKE(out_high);
    TAKE(out_low);
    TAKE(write_stall_ms);
    TAKE(conns_max);
    TAKE(conns_reserve);
#undef TAKE
    l->fields_max = MIN(l->fields_max, (unsigned)HEAD_FIELDS_MAX);
    l->out_low = MIN(l->out_low, l->out_high);
    l->conns_reserve = MIN(l->conns_reserve, l->conns_max - 1);
}

static void on_drain(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *server = arg;
    void (*on_drained)(void *) = server->on_drained;

    (void)fd;
    (void)what;
    server->on_drained = NULL;
    if (on_drained)
        on_drained(server->on_drained_arg);
}

int http_server_new(struct event_base *base, const struct http_server_config *config,
                    struct http_server **ret_server)
{
    struct http_server *s = xnew(struct http_server);

    s->base = base;
    s->config = *config;
    fill_limits(&s->config.limits);
    if (!s->config.json_type)
        s->config.json_type = "application/json";
    SLIST_INIT(&s->listeners);
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->busy);
    LIST_INIT(&s->tunnels);
    LIST_INIT(&s->sockets);
    s->spare_fd = -1;
    s->upstreams = upstream_pool_new();
    s->counts = request_counts_new(config->routes, config->n_routes);
    s->scratch = malloc(SERVER_SCRATCH);
    s->drain = evtimer_new(base, on_drain, s);
    if (!s->scratch || !s->drain || listen_init(s) < 0) {
        http_server_free(s);
        return -ENOMEM;
    }
    *ret_server = s;
    return 0;
}

void http_server_free(struct http_server *server)
{
    struct conn *c;

    if (!server)
        return;
    server->on_drained = NULL;
    listen_done(server);
    while ((c = TAILQ_FIRST(&server->busy)) || (c = TAILQ_FIRST(&server->waiting)))
        conn_free(c);
    tunnel_free_all(server);
    ws_end_all(server);
    if (server->drain)
        event_free(server->drain);
    upstream_pool_free(server->upstreams);
    request_counts_free(server->counts);
    free(server->scratch);
    free(server);
}

void http_server_drain(struct http_server *server, int grace_ms, void (*on_drained)(void *),
                       void *arg)
{
    struct timeval grace = {.tv_sec = grace_ms / 1000, .tv_usec = (grace_ms % 1000) * 1000};
    struct conn *c;

    listen_accept_waiting(server); /* a request may have come with the connection */
    server->draining = true;
    server->on_drained = on_drained;
    server->on_drained_arg = arg;
    listen_stop(server);
    TAILQ_FOREACH(c, &server->waiting, link)
    conn_shut_when_idle(c);
    TAILQ_FOREACH(c, &server->busy, link)
    c->closing = true; /* the running request is answered first */
    if (event_add(server->drain, &grace) < 0)
        event_active(server->drain, EV_TIMEOUT, 0); /* no memory for a timer: no grace either */
    server_check_drained(server);
}

int http_server_adopt(struct http_server *server, int fd, void (*on_gone)(void *), void *arg)
{
    int rc = fd_set_nonblock(fd, true);

    if (rc < 0) {
        close(fd);
        return rc;
    }
    rc = conn_new(server, fd, "unix", true, 0);
    if (rc < 0)
        return rc;
    server->adopted = true;
    server->on_drained = on_gone;
    server->on_drained_arg = arg;
    return 0;
}

int server_check_sockets(const struct http_server *server, struct err *err)
{
    if (server->n_sockets < server->config.limits.conns_max)
        return 0;
    return err_set(err, ERR_OVERLOADED, EAGAIN, "%u WebSockets are open, which is the limit",
                   server->n_sockets);
}

void server_check_drained(struct http_server *server)
{
    struct conn *c;

    if ((!server->draining && !server->adopted) || !server->on_drained ||
        !TAILQ_EMPTY(&server->busy))
        return;
    TAILQ_FOREACH(c, &server->waiting, link)
    {
        if (c->phase != CONN_LINGER)
            return;
    }
    event_active(server->drain, EV_TIMEOUT, 0);
}

const char *server_date(struct http_server *server)
{
    time_t now = (time_t)(clock_wall_ms() / 1000);

    if (now != server->date_at) {
        clock_format_http(now, server->date);
        server->date_at = now;
    }
    return server->date;
}

void http_server_get_stats(const struct http_server *server, struct http_server_stats *ret_stats)
{
    *ret_stats = server->stats;
}
