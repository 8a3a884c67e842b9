/* Life cycle of a connection: birth, the run that drives its phases, deadlines, end. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/http/conn_priv.h"

static void on_read(struct bufferevent *bev, void *arg);
static void on_written(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);
static void on_tick(evutil_socket_t fd, short what, void *arg);
static void on_timer(evutil_socket_t fd, short what, void *arg);

int64_t conn_now_ms(void)
{
    return loop_clock_ms();
}

/* The one place where bufferevents of accepted sockets are made: TLS goes in here. */
static struct bufferevent *make_bufferevent(struct http_server *server, int fd, bool *ret_direct)
{
    struct bufferevent *bev = bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);

    *ret_direct = true;
    return bev;
}

static void tune_socket(int fd, bool local)
{
    /* Advice to the kernel: a refusal costs speed or memory, not correctness. */
    static const int on = 1, idle_s = 60, unsent_max = 131072;

    if (local)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_max, sizeof(unsent_max));
}

/* Progress of writes that the bufferevent makes by itself. */
static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *info, void *arg)
{
    struct conn *c = arg;

    (void)out;
    if (info->n_deleted > 0 || info->orig_size == 0)
        c->out_ms = 0; /* restarts the stall clock at the next look */
}

static void move_to_list(struct conn *c, bool waiting)
{
    struct http_server *s = c->server;

    TAILQ_REMOVE(c->waiting_list ? &s->waiting : &s->busy, c, link);
    TAILQ_INSERT_TAIL(waiting ? &s->waiting : &s->busy, c, link);
    c->waiting_list = waiting;
}

void conn_set_phase(struct conn *c, enum conn_phase phase)
{
    c->phase = phase;
    if (phase == CONN_HEAD || phase == CONN_LINGER)
        c->since_ms = conn_now_ms();
    move_to_list(c, phase == CONN_HEAD || phase == CONN_LINGER);
    if (phase == CONN_LINGER)
        server_check_drained(c->server);
}

static void scan_reset(struct conn *c)
{
    const struct http_limits *limits = &c->server->config.limits;

    head_scan_init(&c->scan, false, limits->head_max, limits->fields_max);
}

int conn_new(struct http_server *server, int fd, const char *peer, bool local, unsigned tag)
{
    struct conn *c = calloc(1, sizeof(*c));
    const struct http_limits *limits = &server->config.limits;
    bool direct = true;
    struct bufferevent *bev = c ? make_bufferevent(server, fd, &direct) : NULL;

    if (!bev) {
        free(c);
        close(fd);
        return -ENOMEM;
    }
    tune_socket(fd, local);
    c->server = server;
    c->bev = bev;
    c->fd = fd;
    c->direct = direct;
    c->local = local;
    c->tag = tag;
    c->head_begun = true; /* the first head is due from the accept on */
    (void)snprintf(c->peer, sizeof(c->peer), "%s",
                   peer); /* cutting is harmless: it fits any address */
    c->req.conn = c;
    head_init(&c->req.head);
    arena_init(&c->req.arena);
    strbuf_init(&c->req.resp.fields, SERVER_FIELDS_MAX);
    scan_reset(c);
    (void)event_assign(&c->tick, server->base, -1, 0, on_tick, c); /* fails for bad flags only */
    (void)event_assign(&c->timer, server->base, -1, 0, on_timer, c);
    c->input_max = MAX((size_t)CONN_READ_MAX, limits->head_max + 1);
    bufferevent_setcb(bev, on_read, on_written, on_event, c);
    bufferevent_setwatermark(bev, EV_READ, 0, c->input_max);
    bufferevent_setwatermark(bev, EV_WRITE, limits->out_low, 0);
    (void)bufferevent_set_max_single_write(bev, 262144);
    (void)evbuffer_add_cb(bufferevent_get_output(bev), on_output, c);
    if (c->direct)
        bufferevent_disable(bev, EV_WRITE);
    TAILQ_INSERT_TAIL(&server->busy, c, link);
    server->stats.open_conns++;
    c->only_open = server->stats.open_conns > limits->conns_max - limits->conns_reserve;
    conn_set_phase(c, CONN_HEAD);
    conn_enable(c, EV_READ);
    conn_post(c);
    return 0;
}

/* Everything that belongs to the request ends here, exactly once. */
static void finish_request(struct conn *c)
{
    struct http_req *req = &c->req;
    struct req_resp *r = &req->resp;
    void (*on_close)(void *) = req->on_close;

    if (!req->active)
        return;
    req->active = false;
    if (r->stream && r->producer.stop)
        r->producer.stop(r->arg);
    req->on_close = NULL;
    if (on_close)
        on_close(req->on_close_arg);
    request_counts_add(c->server, req, (clock_monotonic_ns() - req->start_ns) / 1000);
    c->server->stats.active_requests--;
    c->server->stats.open_streams -= r->stream;
}

static void reset_request(struct conn *c)
{
    struct http_req *req = &c->req;
    struct strbuf fields = req->resp.fields;

    if (req->arena.head)
        arena_done(&req->arena);
    free(req->body.data);
    head_init(&req->head);
    memset(&req->match, 0, (size_t)((char *)(req + 1) - (char *)&req->match));
    arena_init(&req->arena);
    strbuf_reset(&fields);
    req->resp.fields = fields;
    c->eof_ms = c->eof ? c->eof_ms : 0;
}

void conn_free(struct conn *c)
{
    struct http_server *server = c->server;
    struct err gone = {0};

    if (c->req.active && c->req.body.reading && !c->req.body.over && !c->req.resp.ended) {
        c->req.body.over = true;
        (void)err_set(&gone, ERR_BAD_REQUEST, ECONNRESET,
                      "the peer is gone"); /* a value, not a failure here */
        c->req.body.ops.on_end(c->req.body.arg, &gone);
    }
    finish_request(c);
    reset_request(c);
    strbuf_done(&c->req.resp.fields);
    event_del(&c->tick);
    event_del(&c->timer);
    if (c->bev) {
        (void)evbuffer_remove_cb(bufferevent_get_output(c->bev), on_output, c); /* it was added */
        bufferevent_free(c->bev);
    }
    TAILQ_REMOVE(c->waiting_list ? &server->waiting : &server->busy, c, link);
    free(c->head_buf);
    free(c);
    server->stats.open_conns--;
    server_check_drained(server);
}

void conn_post(struct conn *c)
{
    event_active(&c->tick, EV_TIMEOUT, 0);
}

/* As conn_post, but behind one look at all sockets: event_active alone would let a fast producer starve them. */
static void yield_run(struct conn *c)
{
    static const struct timeval now = {0, 0};

    (void)event_add(&c->tick, &now); /* fails only without memory: then the next event runs it */
}

void conn_break(struct conn *c)
{
    c->broken = true;
    if (!c->running)
        conn_post(c);
}

/* A connection that the kernel does not watch would be silent for ever. */
void conn_enable(struct conn *c, short what)
{
    if (bufferevent_enable(c->bev, what) < 0)
        conn_break(c);
}

void conn_shut_when_idle(struct conn *c)
{
    c->closing = true;
    conn_post(c);
}

int64_t conn_arrived(const struct conn *c)
{
    int unread;

    if (ioctl(c->fd, FIONREAD, &unread) < 0)
        return INT64_MAX; /* nobody knows */
    return (int64_t)evbuffer_get_length(bufferevent_get_input(c->bev)) + unread;
}

/* The longest waiting connection makes room: those between requests or still spelling out a head. */
bool conn_drop_oldest(struct http_server *server)
{
    struct conn *c = TAILQ_FIRST(&server->waiting);

    if (!c || c->running)
        return false;
    conn_free(c);
    return true;
}

struct bufferevent *http_req_hijack(struct http_req *req)
{
    struct conn *c = req->conn;
    struct bufferevent *bev = c->bev;

    if (!bev)
        return NULL;
    c->bev = NULL;
    (void)evbuffer_remove_cb(bufferevent_get_output(bev), on_output, c); /* it was added */
    bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
    bufferevent_setwatermark(bev, EV_READ | EV_WRITE, 0, 0);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    req->resp.status = req->resp.status ? req->resp.status : 101;
    req->resp.begun = req->resp.ended = true;
    conn_break(c);
    return bev;
}

/* What a handler left undone must not leave a client hanging. */
void conn_dispatch(struct conn *c)
{
    const struct route *route = c->req.match.route;
    enum http_result result;

    conn_set_phase(c, CONN_ACTIVE);
    LOOP_WORK(route->method, route->pattern);
    result = route->handler(&c->req, c->server->config.app);
    if (result == H_DONE && !c->req.resp.ended)
        (void)http_resp_fail(&c->req, ERR_INTERNAL,
                             "the handler gave no answer"); /* H_DONE again */
}

void conn_refuse(struct conn *c, const struct err *err)
{
    c->closing = true;
    if (c->phase != CONN_ACTIVE)
        conn_set_phase(c, CONN_ACTIVE);
    (void)http_resp_error(&c->req, err); /* H_DONE: nobody to hand it to */
}

/* ---- the phases -------------------------------------------------------------------------------- */

/* A FIN can be a half-close ("here is my whole request") or a goodbye. Unix sockets tell; TCP does not, so
 * a FIN right behind the request counts as the former and a later one as the latter. */
static bool peer_is_gone(const struct conn *c)
{
    struct pollfd p = {.fd = c->fd, .events = 0};

    if (!c->eof || !c->bev)
        return false;
    if (c->local)
        return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
    return c->eof_ms - c->read_ms > CONN_HALF_CLOSE_MS;
}

static bool step_active(struct conn *c)
{
    if (c->req.resp.ended) {
        conn_set_phase(c, CONN_FINISH);
        return true;
    }
    if (conn_step_stream_body(c))
        return true;
    if (peer_is_gone(c)) {
        conn_break(c);
        return false;
    }
    return conn_step_produce(c);
}

static void start_linger(struct conn *c)
{
    finish_request(c);
    reset_request(c);
    if (c->eof || shutdown(c->fd, SHUT_WR) < 0)
        conn_break(c);
    else
        conn_set_phase(c, CONN_LINGER);
}

static bool step_finish(struct conn *c)
{
    const struct http_limits *limits = &c->server->config.limits;

    if (conn_step_discard(c))
        return true;
    if (!c->req.body.done && !c->closing)
        return false; /* the rest of a small body is awaited */
    if (c->closing || c->req.resp.stream || conn_pending(c) >= limits->out_high)
        conn_flush(c);
    if (conn_pending(c) > 0 &&
        (c->closing || c->req.resp.stream || conn_pending(c) >= limits->out_high))
        return false;
    if (c->closing) {
        start_linger(c);
        return false;
    }
    finish_request(c);
    reset_request(c);
    scan_reset(c);
    c->head_begun = false;
    conn_set_phase(c, CONN_HEAD);
    return true;
}

static bool step_linger(struct conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);

    (void)evbuffer_drain(in, evbuffer_get_length(in)); /* nobody reads this */
    if (c->eof)
        conn_break(c);
    return false;
}

static bool step(struct conn *c)
{
    static bool (*const steps[CONN_PHASE_MAX])(struct conn *) = {
        [CONN_HEAD] = conn_step_head, [CONN_COLLECT] = conn_step_collect,
        [CONN_ACTIVE] = step_active,  [CONN_FINISH] = step_finish,
        [CONN_LINGER] = step_linger,
    };

    return steps[c->phase](c);
}

/* ---- a full input ------------------------------------------------------------------------------ */

/* A buffer at its mark must not stay enabled: libevent would report it again and again. That the peer has gone is then
 * looked for by the timer: who watches a socket for that alone is told of an error again and again, too. */
static void watch_input(struct conn *c)
{
    bool full = evbuffer_get_length(bufferevent_get_input(c->bev)) >= c->input_max;

    if (full == c->full)
        return;
    c->full = full;
    if (!full)
        conn_enable(c, EV_READ);
    else if (bufferevent_disable(c->bev, EV_READ) < 0)
        conn_break(c);
}

/* ---- the run ----------------------------------------------------------------------------------- */

/* The last step waited for the output to leave, and it has left. What waits for anybody else must not run again: it
 * would spin. */
static bool flush_made_room(const struct conn *c)
{
    const struct req_resp *r = &c->req.resp;

    if (conn_pending(c) > 0)
        return false;
    if (c->phase == CONN_FINISH)
        return c->closing || c->req.body.done;
    return r->stream && r->producer.proceed && !r->idle;
}

void conn_run(struct conn *c)
{
    int budget = CONN_STEPS_MAX;

    c->running = true;
    while (budget > 0 && !c->broken && step(c))
        budget--;
    conn_flush(c);
    if (!c->broken && c->bev)
        watch_input(c);
    c->running = false;
    if (c->broken) {
        conn_free(c);
        return;
    }
    if (budget == 0 || flush_made_room(c))
        yield_run(c);
    conn_arm_timer(c);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct conn *c = arg;

    c->last_read = evbuffer_get_length(bufferevent_get_input(bev));
    c->read_ms = conn_now_ms();
    conn_run(c);
}

static void on_written(struct bufferevent *bev, void *arg)
{
    (void)bev;
    conn_run(arg);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct conn *c = arg;

    (void)bev;
    if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING)) {
        c->eof = true;
        c->eof_ms = conn_now_ms();
    } else if (what & (BEV_EVENT_ERROR | BEV_EVENT_EOF)) {
        c->broken = true;
    }
    conn_run(c);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    conn_run(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    (void)what;
    c->timer_at_ms = 0;
    c->running = true;
    conn_check_deadlines(c);
    conn_run(c);
}
