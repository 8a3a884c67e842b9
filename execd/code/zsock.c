#include "execd/code/zsock.h"
#include "proto/base/loop_delay.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"

/* Messages, bytes and time of one turn of the loop, so that a flooding kernel cannot keep the loop to itself, and its
 * flood is seen before much more of it has arrived. */
#define DRAIN_TURN 64
#define TURN_BYTES (1u << 20)
#define TURN_MS 10
/* Bytes delivered without ever seeing the end of the queue: then the sender is faster than this loop. */
#define BACKLOG_BYTES (2u << 20)
/* Sockets of the whole library: ten per kernel (four channels and both ends of three monitors). */
#define SOCKETS_MAX 8192
#define RECONNECT_MS                                                                               \
    5 /* the library's 100 ms would show in every kernel start (contracts/jupyter.md 1.13) */
#define RELINK_MS                                                                                  \
    20 /* after a broken connection: a peer that breaks each one must not keep the loop busy */

struct zcontext {
    struct event_base *base; /* borrowed */
    void *zmq;               /* owned; NULL until the first socket */
    uint64_t n_monitors;     /* makes the monitors' addresses unique */
};

struct zsock {
    struct zcontext *context;                     /* borrowed */
    void *zmq;                                    /* owned */
    void *monitor;                                /* owned; NULL without watch_link */
    struct event *event, *monitor_event, *relink; /* owned */
    char *address;                                /* owned */
    const struct zsock_ops *ops;
    void *arg;
    unsigned depth; /* callbacks on the stack: freeing waits for them */
    bool closed;
    bool behind;
    size_t since_empty; /* bytes delivered since the queue was last seen empty */
};

struct zmsg {
    size_t n;
    bool cut;
    zmq_msg_t parts[];
};

struct zcontext *zcontext_new(struct event_base *base)
{
    struct zcontext *context = xnew(struct zcontext);
    context->base = base;
    return context;
}

void zcontext_free(struct zcontext *context)
{
    if (!context)
        return;
    if (context->zmq)
        while (zmq_ctx_term(context->zmq) < 0 && zmq_errno() == EINTR)
            ;
    free(context);
}

static int start_library(struct zcontext *context, struct err *err)
{
    if (context->zmq)
        return 0;
    context->zmq = zmq_ctx_new();
    if (!context->zmq)
        return err_sys(err, 0, zmq_errno(), "start the message library");
    if (zmq_ctx_set(context->zmq, ZMQ_IO_THREADS, 1) < 0 ||
        zmq_ctx_set(context->zmq, ZMQ_MAX_SOCKETS, SOCKETS_MAX) < 0 ||
        zmq_ctx_set(context->zmq, ZMQ_BLOCKY, 0) < 0)
        return err_sys(err, 0, zmq_errno(), "configure the message library");
    return 0;
}

static int set_int(void *zmq, int option, int value)
{
    return zmq_setsockopt(zmq, option, &value, sizeof(value)) < 0 ? -zmq_errno() : 0;
}

static int set_options(void *zmq, const struct zsock_options *o)
{
    int64_t message_max = (int64_t)o->message_max;
    int r = set_int(zmq, ZMQ_LINGER, 0);
    if (r >= 0)
        r = set_int(zmq, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    if (r >= 0 && zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &message_max, sizeof(message_max)) < 0)
        r = -zmq_errno();
    if (r >= 0 && o->identity.len > 0 &&
        zmq_setsockopt(zmq, ZMQ_ROUTING_ID, o->identity.ptr, o->identity.len) < 0)
        r = -zmq_errno();
    if (r >= 0 && o->kind == ZSOCK_SUB) {
        r = set_int(zmq, ZMQ_RCVHWM, o->receive_max);
        if (r >= 0 && zmq_setsockopt(zmq, ZMQ_SUBSCRIBE, "", 0) < 0)
            r = -zmq_errno();
    }
    return r;
}

static struct event *watch_fd(struct zcontext *context, void *zmq, event_callback_fn fn, void *arg)
{
    int fd = -1;
    size_t len = sizeof(fd);
    if (zmq_getsockopt(zmq, ZMQ_FD, &fd, &len) < 0)
        return NULL;
    struct event *event = event_new(context->base, fd, EV_READ | EV_PERSIST, fn, arg);
    if (event && event_add(event, NULL) < 0) {
        event_free(event);
        event = NULL;
    }
    return event;
}

static bool has_input(void *zmq)
{
    int events = 0;
    size_t len = sizeof(events);
    return zmq_getsockopt(zmq, ZMQ_EVENTS, &events, &len) == 0 && (events & ZMQ_POLLIN);
}

static void release(struct zsock *s)
{
    if (s->event)
        event_free(s->event);
    if (s->monitor_event)
        event_free(s->monitor_event);
    if (s->relink)
        event_free(s->relink);
    free(s->address);
    if (s->monitor) {
        (void)zmq_socket_monitor(s->zmq, NULL, 0); /* fails only for a socket without monitor */
        (void)zmq_close(s->monitor);               /* fails only for a non-socket */
    }
    if (s->zmq)
        (void)zmq_close(s->zmq); /* as above */
    free(s);
}

static void enter(struct zsock *s)
{
    s->depth++;
}

/* False when the socket was closed meanwhile and is gone now. */
static bool leave(struct zsock *s)
{
    if (--s->depth > 0 || !s->closed)
        return !s->closed;
    release(s);
    return false;
}

/* One message, or NULL when there is none. */
static struct zmsg *receive(struct zsock *s)
{
    zmq_msg_t parts[ZMSG_FRAMES_MAX];
    size_t n = 0;
    bool more = true, cut = false, whole = true;
    while (more) {
        zmq_msg_t extra, *part = n < ZMSG_FRAMES_MAX ? &parts[n] : &extra;
        (void)zmq_msg_init(part); /* cannot fail */
        if (zmq_msg_recv(part, s->zmq, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(part);
            whole = false;
            break;
        }
        more = zmq_msg_more(part);
        if (part == &extra) {
            (void)zmq_msg_close(part);
            cut = true;
        } else {
            n++;
        }
    }
    struct zmsg *msg = whole ? xmalloc(sizeof(*msg) + n * sizeof(zmq_msg_t)) : NULL;
    for (size_t i = 0; i < n; i++) {
        if (msg) {
            (void)zmq_msg_init(&msg->parts[i]); /* cannot fail */
            (void)zmq_msg_move(&msg->parts[i], &parts[i]);
        }
        (void)zmq_msg_close(&parts[i]);
    }
    if (msg) {
        msg->n = n;
        msg->cut = cut;
    }
    return msg;
}

/* Delivers up to max messages, and none behind max_bytes or end_ms; true when the socket is still open. */
static bool deliver(struct zsock *s, unsigned max, size_t max_bytes, int64_t end_ms)
{
    size_t bytes = 0;
    enter(s);
    for (unsigned i = 0; i < max && bytes < max_bytes && !s->closed && has_input(s->zmq) &&
                         clock_monotonic_ms() < end_ms;
         i++) {
        struct zmsg *msg = receive(s);
        if (msg) {
            bytes += zmsg_size(msg);
            s->since_empty += zmsg_size(msg);
            s->ops->on_message(s->arg, msg);
        }
    }
    return leave(s);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    LOOP_WORK("descriptor", "messages of kernels");
    struct zsock *s = arg;
    if (!deliver(s, DRAIN_TURN, TURN_BYTES, clock_monotonic_ms() + TURN_MS))
        return;
    bool more = has_input(s->zmq);
    if (more)
        event_active(s->event, EV_READ, 0);
    else
        s->since_empty = 0;
    bool behind = s->since_empty > BACKLOG_BYTES;
    if (behind != s->behind && s->ops->on_backlog) {
        s->behind = behind;
        s->ops->on_backlog(s->arg, behind);
    }
}

void zsock_drain(struct zsock *s)
{
    (void)deliver(s, UINT32_MAX, SIZE_MAX, INT64_MAX); /* the caller knows whether it closed it */
}

/* A monitor event is two frames: number (16 bits) and value (32 bits), then the address. */
static uint16_t next_monitor_event(struct zsock *s)
{
    struct zsock reader = {.context = s->context, .zmq = s->monitor};
    struct zmsg *msg = receive(&reader);
    uint16_t number = 0;
    if (msg && msg->n > 0 && zmsg_frame(msg, 0).len >= sizeof(number))
        memcpy(&number, zmsg_frame(msg, 0).ptr, sizeof(number));
    zmsg_free(msg);
    return number;
}

/* The library connects again after some breaks, but never after a frame over the limit. So it is made to forget
 * the connection, whatever it had in mind, and is told anew. */
static void unlink_peer(struct zsock *s)
{
    struct timeval tv = {.tv_usec = RELINK_MS * 1000};
    /* -fanalyzer: the callback that frees it is not called from here */
    (void)zmq_disconnect(s->zmq, s->address); /* unknown after a break that it does not mend */
    (void)event_add(s->relink, &tv);          /* fails only when memory is exhausted */
}

static void on_relink(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct zsock *s = arg;
    (void)zmq_connect(s->zmq, s->address); /* the address was good before */
}

static void on_monitor(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct zsock *s = arg;
    enter(s);
    while (!s->closed && has_input(s->monitor)) {
        bool up = next_monitor_event(s) == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        /* The library queued all messages of the connection before it told of its end. */
        if (!up) {
            zsock_drain(s);
            unlink_peer(s);
        }
        if (!s->closed)
            s->ops->on_link(s->arg, up);
    }
    (void)leave(s);
}

static int open_monitor(struct zsock *s)
{
    cleanup_free char *address =
        xasprintf("inproc://link-%llu", (unsigned long long)s->context->n_monitors++);
    if (zmq_socket_monitor(s->zmq, address,
                           ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) < 0)
        return -zmq_errno();
    s->monitor = zmq_socket(s->context->zmq, ZMQ_PAIR);
    if (!s->monitor || set_int(s->monitor, ZMQ_LINGER, 0) < 0 ||
        zmq_connect(s->monitor, address) < 0)
        return -zmq_errno();
    s->monitor_event = watch_fd(s->context, s->monitor, on_monitor, s);
    s->relink = evtimer_new(s->context->base, on_relink, s);
    if (!s->monitor_event || !s->relink)
        return -ENOMEM;
    event_active(s->monitor_event, EV_READ, 0);
    return 0;
}

int zsock_open(struct zcontext *context, const struct zsock_options *options,
               const struct zsock_ops *ops, void *arg, struct zsock **ret_socket, struct err *err)
{
    int r = start_library(context, err);
    if (r < 0)
        return r;
    struct zsock *s = xnew(struct zsock);
    s->context = context;
    s->ops = ops;
    s->arg = arg;
    s->address = xstrdup(options->address);
    s->zmq = zmq_socket(context->zmq, options->kind == ZSOCK_SUB ? ZMQ_SUB : ZMQ_DEALER);
    r = s->zmq ? set_options(s->zmq, options) : -zmq_errno();
    if (r >= 0 && options->watch_link)
        r = open_monitor(s);
    if (r >= 0 && zmq_connect(s->zmq, options->address) < 0)
        r = -zmq_errno();
    if (r >= 0) {
        s->event = watch_fd(context, s->zmq, on_readable, s);
        r = s->event ? 0 : -ENOMEM;
    }
    if (r < 0) {
        release(s);
        return err_sys(err, 0, -r, "open a message socket to '%s'", options->address);
    }
    *ret_socket = s;
    return 0;
}

void zsock_close(struct zsock *s)
{
    if (!s || s->closed)
        return;
    s->closed = true;
    if (s->depth == 0)
        release(s);
}

int zsock_send(struct zsock *s, const struct slice *frames, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && r >= 0; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < n ? ZMQ_SNDMORE : 0);
        if (zmq_send(s->zmq, frames[i].ptr ? frames[i].ptr : "", frames[i].len, flags) < 0)
            r = -zmq_errno();
    }
    /* Sending handles the library's commands and may so have taken the signal of an arrival. */
    if (has_input(s->zmq))
        event_active(s->event, EV_READ, 0);
    return r;
}

size_t zmsg_count(const struct zmsg *msg)
{
    return msg->n;
}

struct slice zmsg_frame(const struct zmsg *msg, size_t i)
{
    zmq_msg_t *part = (zmq_msg_t *)&msg->parts[i]; /* the library's getter lacks a const */
    return (struct slice){zmq_msg_data(part), zmq_msg_size(part)};
}

bool zmsg_is_cut(const struct zmsg *msg)
{
    return msg->cut;
}

size_t zmsg_size(const struct zmsg *msg)
{
    size_t size = 0;
    for (size_t i = 0; i < msg->n; i++)
        size += zmsg_frame(msg, i).len;
    return size;
}

void zmsg_free(struct zmsg *msg)
{
    if (!msg)
        return;
    for (size_t i = 0; i < msg->n; i++)
        (void)zmq_msg_close(&msg->parts[i]); /* fails only for an uninitialised message */
    free(msg);
}
