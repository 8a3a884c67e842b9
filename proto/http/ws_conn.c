#include "proto/http/ws_conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "proto/base/loop_delay.h"
#include "proto/http/conn_priv.h"
#include "proto/http/ws_conn_priv.h"
#include "proto/http/watch.h"

#define READ_MAX 65536 /* bytes read ahead of what was parsed */
#define REPLY_ROOM 8   /* times out_high: unsent bytes above which nothing more is read */
#define LAST_READS 256 /* of 4 KiB, from a peer that takes nothing more */

enum ws_state { WS_OPEN, WS_CLOSING, WS_LAST, WS_FAILED, WS_GONE };

static const struct ws_options defaults = {
    .message_max = 1 << 20,
    .out_high = 64 << 10,
    .ping_ms = 30000,
    .dead_ms = 60000,
    .stall_ms = 60000,
    .close_ms = 5000,
};

struct ws_conn {
    LIST_ENTRY(ws_conn) link;
    struct http_server *server; /* borrowed */
    struct bufferevent *bev;    /* owned */
    const struct ws_handlers *handlers;
    void *arg;
    struct ws_options options;
    struct ws_parser parser;
    enum ws_state state;
    uint16_t code;       /* for on_close */
    bool paused;         /* by the owner */
    struct event timer;  /* OPEN: every ping_ms; later once, after close_ms */
    struct event tick;   /* posted: goes on reading, or ends */
    int64_t heard_ms;    /* monotonic: last bytes of the peer */
    int64_t progress_ms; /* the peer last took bytes of ours, or output began to wait */
    size_t unread;       /* at its end: by the peer, at the last look */
};

static struct evbuffer *output(const struct ws_conn *ws)
{
    return bufferevent_get_output(ws->bev);
}

static size_t queued(const struct ws_conn *ws)
{
    return evbuffer_get_length(output(ws));
}

bool ws_conn_wants_more(const struct ws_conn *ws)
{
    return ws->state == WS_OPEN && queued(ws) < ws->options.out_high;
}

size_t ws_conn_unread(const struct ws_conn *ws)
{
    int held = 0;

    if (ioctl(bufferevent_getfd(ws->bev), SIOCOUTQ, &held) < 0)
        held = 0;
    return queued(ws) + (size_t)held;
}

size_t ws_conn_undelivered(const struct ws_conn *ws)
{
    int domain = AF_UNIX;
    socklen_t len = sizeof(domain);

    (void)getsockopt(bufferevent_getfd(ws->bev), SOL_SOCKET, SO_DOMAIN, &domain, &len);
    return domain == AF_UNIX ? queued(ws) : ws_conn_unread(ws);
}

/* ---- its end ------------------------------------------------------------------------------------- */

static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *info, void *arg)
{
    struct ws_conn *ws = arg;

    (void)out;
    if (info->n_deleted > 0 || info->orig_size == 0)
        ws->progress_ms = loop_clock_ms();
}

void ws_conn_free(struct ws_conn *ws)
{
    if (ws == NULL)
        return;
    LIST_REMOVE(ws, link);
    ws->server->n_sockets--;
    (void)evbuffer_remove_cb(output(ws), on_output, ws); /* it was added */
    bufferevent_free(ws->bev);
    event_del(&ws->timer);
    event_del(&ws->tick);
    ws_parser_done(&ws->parser);
    free(ws);
}

static void end(struct ws_conn *ws)
{
    ws->state = WS_GONE;
    bufferevent_disable(ws->bev, EV_READ | EV_WRITE);
    ws->handlers->on_close(ws->arg, ws->code != 0 ? ws->code : WS_CLOSE_ABNORMAL);
    ws_conn_free(ws);
}

void ws_end_all(struct http_server *server)
{
    while (!LIST_EMPTY(&server->sockets))
        end(LIST_FIRST(&server->sockets));
}

void ws_conn_abort(struct ws_conn *ws)
{
    ws->state = WS_GONE;
    event_active(&ws->tick, EV_TIMEOUT, 0);
}

/* ---- sending ------------------------------------------------------------------------------------- */

static void send_frame(struct ws_conn *ws, enum ws_opcode opcode, const struct slice *parts,
                       size_t n)
{
    uint8_t head[WS_HEAD_MAX];
    size_t len = 0;
    bool failed = false;

    for (size_t i = 0; i < n; i++)
        len += parts[i].len;
    failed = evbuffer_add(output(ws), head, ws_frame_head(opcode, len, head)) < 0;
    for (size_t i = 0; i < n && !failed; i++)
        failed = evbuffer_add(output(ws), parts[i].ptr, parts[i].len) < 0;
    if (failed)
        ws_conn_abort(ws); /* half a frame went out: nothing that follows would be understood */
}

void ws_conn_send(struct ws_conn *ws, enum ws_opcode opcode, const struct slice *parts, size_t n)
{
    if (ws->state == WS_OPEN)
        send_frame(ws, opcode, parts, n);
}

void ws_conn_send_text(struct ws_conn *ws, const char *text, size_t len)
{
    ws_conn_send(ws, WS_TEXT, &(struct slice){text, len}, 1);
}

/* From here on every written byte counts, and time is short. */
static void begin_end(struct ws_conn *ws, enum ws_state state)
{
    int ms = ws->options.close_ms;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    ws->unread = ws_conn_unread(ws);
    ws->state = state;
    bufferevent_setwatermark(ws->bev, EV_WRITE, 0, 0);
    watch_enable(ws->bev, EV_READ | EV_WRITE);
    event_del(&ws->timer);
    if (event_add(&ws->timer, &tv) < 0)
        ws_conn_abort(ws); /* no memory for a deadline */
}

/* code 0: an empty close frame. */
static void send_close(struct ws_conn *ws, uint16_t code, const char *reason, size_t len)
{
    char bytes[2] = {(char)(code >> 8), (char)code};
    struct slice parts[] = {{bytes, sizeof(bytes)}, {reason, MIN(len, (size_t)WS_REASON_MAX)}};

    send_frame(ws, WS_CLOSE, parts, code != 0 ? ARRAY_LEN(parts) : 0);
}

/* Whoever closes may be about to end altogether: what the socket takes now is not lost with the loop. */
static void flush(struct ws_conn *ws)
{
    /* Bufferevents freeze the front of their output against anyone else; on this thread nobody else is. */
    (void)evbuffer_unfreeze(output(ws), 1);
    (void)evbuffer_write(output(ws), bufferevent_getfd(ws->bev)); /* the rest is the loop's */
    (void)evbuffer_freeze(output(ws), 1);
}

void ws_conn_close(struct ws_conn *ws, uint16_t code, const char *reason)
{
    if (ws->state != WS_OPEN)
        return;
    ws->code = code;
    send_close(ws, code, reason, strlen(reason));
    if (ws->state != WS_OPEN)
        return; /* no memory */
    flush(ws);
    begin_end(ws, WS_CLOSING);
    event_active(&ws->tick, EV_TIMEOUT,
                 0); /* what is already read may hold the peer's close frame */
}

/* ---- reading ------------------------------------------------------------------------------------- */

/* The peer has broken the protocol. It may be in the middle of sending more: closing now would reset the connection and
 * take our close frame along, so the rest is read and thrown away until it leaves. */
static void fail(struct ws_conn *ws)
{
    const struct ws_fault *fault = &ws->parser.fault;

    ws->code = fault->code;
    send_close(ws, fault->code, fault->text, strlen(fault->text));
    if (ws->state != WS_GONE)
        begin_end(ws, WS_FAILED);
}

static void take_close(struct ws_conn *ws, const struct ws_message *m)
{
    if (ws->state == WS_OPEN) {
        ws->code = m->close_code;
        send_close(ws, m->close_code == WS_CLOSE_NO_STATUS ? 0 : m->close_code, "", 0);
    }
    if (ws->state != WS_GONE)
        begin_end(ws, WS_LAST);
}

static void dispatch(struct ws_conn *ws, const struct ws_message *m)
{
    struct slice payload = {m->data, m->len};

    if (m->opcode == WS_CLOSE)
        take_close(ws, m);
    else if (ws->state == WS_OPEN && m->opcode == WS_PING)
        send_frame(ws, WS_PONG, &payload, 1);
    else if (ws->state == WS_OPEN && m->opcode != WS_PONG)
        ws->handlers->on_message(ws->arg, m);
}

/* While OPEN, whoever asks without reading our answers is not heard any more. The limit is far above the one for bulk
 * output: a stream that keeps the output full must not keep "stop" from being read. */
static bool may_read(const struct ws_conn *ws)
{
    if (ws->state == WS_OPEN)
        return !ws->paused && queued(ws) < REPLY_ROOM * ws->options.out_high;
    return ws->state == WS_CLOSING;
}

static bool parse_run(struct ws_conn *ws, struct evbuffer *in)
{
    struct ws_message m;
    size_t used = 0, n = evbuffer_get_contiguous_space(in);
    const char *p = (const char *)evbuffer_pullup(in, (ev_ssize_t)n); /* already in one piece */
    enum ws_result result = ws_parser_next(&ws->parser, p, n, &used, &m);

    (void)evbuffer_drain(in, used);
    if (result == WS_MESSAGE)
        dispatch(ws, &m);
    else if (result == WS_BAD && ws->state == WS_OPEN)
        fail(ws);
    else if (result == WS_BAD)
        ws_conn_abort(ws);
    return result != WS_BAD;
}

static void parse_all(struct ws_conn *ws, struct evbuffer *in)
{
    while (may_read(ws) && evbuffer_get_length(in) > 0 && parse_run(ws, in))
        ;
}

static void read_on(struct ws_conn *ws)
{
    struct evbuffer *in = bufferevent_get_input(ws->bev);

    parse_all(ws, in);
    if (ws->state == WS_FAILED || ws->state == WS_LAST)
        (void)evbuffer_drain(in, evbuffer_get_length(in));
    if (ws->state == WS_OPEN && !may_read(ws))
        bufferevent_disable(ws->bev, EV_READ);
    else if (ws->state != WS_GONE)
        watch_enable(ws->bev, EV_READ);
    if (ws->state == WS_LAST && queued(ws) == 0)
        event_active(&ws->tick, EV_TIMEOUT,
                     0); /* nothing is left that would call us when written */
}

void ws_conn_pause(struct ws_conn *ws, bool paused)
{
    if (ws->paused == paused)
        return;
    ws->paused = paused;
    ws->heard_ms = loop_clock_ms(); /* the silence so far was ours */
    if (!paused && ws->state == WS_OPEN)
        event_active(&ws->tick, EV_TIMEOUT, 0);
}

/* ---- events -------------------------------------------------------------------------------------- */

static void settle_written(struct ws_conn *ws)
{
    if (queued(ws) > 0)
        return;
    if (ws->state == WS_LAST)
        end(ws);
    else if (ws->state == WS_FAILED)
        (void)shutdown(bufferevent_getfd(ws->bev), SHUT_WR); /* failing: it is gone already */
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct ws_conn *ws = arg;

    (void)bev;
    ws->heard_ms = loop_clock_ms();
    read_on(ws);
}

static void on_written(struct bufferevent *bev, void *arg)
{
    struct ws_conn *ws = arg;

    (void)bev;
    if (ws->state != WS_OPEN) {
        settle_written(ws);
        return;
    }
    if (!ws->paused && !(bufferevent_get_enabled(ws->bev) & EV_READ)) {
        ws->heard_ms = loop_clock_ms();
        event_active(&ws->tick, EV_TIMEOUT, 0);
    }
    if (ws->handlers->on_writable != NULL)
        ws->handlers->on_writable(ws->arg);
}

/* That it takes nothing more may be seen before what it has said. */
static void hear_last_words(struct ws_conn *ws)
{
    struct evbuffer *in = bufferevent_get_input(ws->bev);
    int left = LAST_READS;

    (void)evbuffer_unfreeze(in, 0); /* as in flush */
    while (left-- > 0 && may_read(ws) && evbuffer_read(in, bufferevent_getfd(ws->bev), -1) > 0)
        parse_all(ws, in);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct ws_conn *ws = arg;

    (void)bev;
    if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
        return;
    if (what & BEV_EVENT_WRITING)
        hear_last_words(ws);
    end(ws);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct ws_conn *ws = arg;

    (void)fd;
    (void)what;
    if (ws->state == WS_GONE || (ws->state == WS_LAST && queued(ws) == 0))
        end(ws);
    else
        read_on(ws);
}

static bool is_dead(const struct ws_conn *ws, int64_t now)
{
    bool listening = bufferevent_get_enabled(ws->bev) & EV_READ;

    return (listening && now - ws->heard_ms >= ws->options.dead_ms) ||
           (queued(ws) > 0 && now - ws->progress_ms >= ws->options.stall_ms);
}

/* What is queued in front of our close frame is worth nothing to a peer that does not read it. */
static bool takes_the_rest(struct ws_conn *ws)
{
    size_t before = ws->unread;

    ws->unread = ws_conn_unread(ws);
    return ws->state != WS_OPEN && ws->unread > 0 && ws->unread < before;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct ws_conn *ws = arg;
    int64_t now = loop_clock_ms();

    (void)fd;
    (void)what;
    if (takes_the_rest(ws))
        return; /* the timer comes again */
    if (ws->state != WS_OPEN || is_dead(ws, now))
        end(ws);
    else if (now - ws->heard_ms >= ws->options.ping_ms / 2 && queued(ws) < ws->options.out_high)
        send_frame(ws, WS_PING, NULL, 0);
}

/* ---- its beginning ------------------------------------------------------------------------------- */

static void set_defaults(struct ws_options *o)
{
    o->message_max = o->message_max != 0 ? o->message_max : defaults.message_max;
    o->out_high = o->out_high != 0 ? o->out_high : defaults.out_high;
    o->ping_ms = o->ping_ms != 0 ? o->ping_ms : defaults.ping_ms;
    o->dead_ms = o->dead_ms != 0 ? o->dead_ms : defaults.dead_ms;
    o->stall_ms = o->stall_ms != 0 ? o->stall_ms : defaults.stall_ms;
    o->close_ms = o->close_ms != 0 ? o->close_ms : defaults.close_ms;
}

static void start(struct ws_conn *ws, struct event_base *base)
{
    int ms = ws->options.ping_ms;
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    ws->heard_ms = ws->progress_ms = loop_clock_ms();
    (void)event_assign(&ws->tick, base, -1, 0, on_tick, ws); /* fails for bad flags only */
    (void)event_assign(&ws->timer, base, -1, EV_PERSIST, on_timer, ws);
    (void)evbuffer_add_cb(output(ws), on_output, ws); /* without: stalls are seen too early */
    bufferevent_setcb(ws->bev, on_read, on_written, on_event, ws);
    bufferevent_setwatermark(ws->bev, EV_READ, 0, READ_MAX);
    bufferevent_setwatermark(ws->bev, EV_WRITE, ws->options.out_high / 4, 0);
    watch_enable(ws->bev, EV_READ | EV_WRITE);
    if (event_add(&ws->timer, &tv) < 0)
        ws_conn_abort(ws); /* without a keepalive a dead peer would stay for ever */
    else
        event_active(&ws->tick, EV_TIMEOUT, 0); /* frames may have come right behind the request */
}

int ws_conn_accept(struct http_req *req, const struct ws_options *options,
                   const struct ws_handlers *handlers, void *arg, struct ws_conn **ret_conn,
                   struct err *err)
{
    struct http_server *server = req->conn->server;

    int r = server_check_sockets(server, err);
    if (r < 0)
        return r;
    struct evbuffer *answer = evbuffer_new();
    struct ws_conn *ws = xnew(struct ws_conn);

    ws->options = options != NULL ? *options : (struct ws_options){0};
    set_defaults(&ws->options);
    if (answer != NULL && ws_write_answer(req, ws->options.subprotocols, answer) == 0)
        ws->bev = http_req_hijack(req);
    if (ws->bev == NULL || evbuffer_add_buffer(output(ws), answer) < 0) {
        if (ws->bev != NULL)
            bufferevent_free(ws->bev);
        if (answer != NULL)
            evbuffer_free(answer);
        free(ws);
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a WebSocket");
    }
    evbuffer_free(answer);
    ws->handlers = handlers;
    ws->arg = arg;
    ws->server = server;
    LIST_INSERT_HEAD(&server->sockets, ws, link);
    server->n_sockets++;
    ws_parser_init(&ws->parser, ws->options.message_max);
    start(ws, bufferevent_get_base(ws->bev));
    *ret_conn = ws;
    return 0;
}
