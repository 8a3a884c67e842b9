#include "execd/stream/feed.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "proto/base/mem.h"

#define QUEUE_MAX (256 * 1024)

struct feed {
    int fd;                 /* owned; -1 when closed */
    struct evbuffer *queue; /* owned */
    struct event *writable; /* owned */
    struct event *notify;   /* owned: posts on_room */
    size_t packet;          /* bytes per write; 0 = any */
    bool closing;
    void (*on_room)(void *arg);
    void *room_arg;
};

static void notify(struct feed *f)
{
    if (f->on_room != NULL && feed_has_room(f))
        event_active(f->notify, EV_TIMEOUT, 0);
}

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
    struct feed *f = arg;
    void (*on_room)(void *) = f->on_room;

    (void)fd;
    (void)what;
    f->on_room = NULL;
    if (on_room != NULL)
        on_room(f->room_arg);
}

void feed_shut(struct feed *f)
{
    if (f->fd < 0)
        return;
    (void)event_del(f->writable);
    close(take_fd(&f->fd));
    (void)evbuffer_drain(f->queue, evbuffer_get_length(f->queue));
    notify(f);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct feed *f = arg;

    (void)what;
    while (evbuffer_get_length(f->queue) > 0) {
        int n = evbuffer_write_atmost(f->queue, fd, f->packet > 0 ? (ev_ssize_t)f->packet : -1);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) { /* EPIPE: the process does not want it */
            feed_shut(f);
            return;
        }
    }
    if (evbuffer_get_length(f->queue) > 0) {
        if (event_add(f->writable, NULL) < 0)
            feed_shut(f); /* no memory to wait: an end is better than silence */
    } else if (f->closing) {
        feed_shut(f);
    }
    notify(f);
}

int feed_new(struct event_base *base, int fd, size_t packet, struct feed **ret)
{
    struct feed *f = xnew(struct feed);

    f->fd = fd;
    f->packet = packet;
    f->queue = evbuffer_new();
    f->writable = event_new(base, fd, EV_WRITE, on_writable, f);
    f->notify = event_new(base, -1, 0, on_notify, f);
    int rc = f->queue == NULL || f->writable == NULL || f->notify == NULL ? -ENOMEM : 0;
    if (rc == 0)
        rc = fd_set_nonblock(fd, true);
    if (rc < 0) {
        feed_free(f);
        return rc;
    }
    *ret = f;
    return 0;
}

void feed_free(struct feed *f)
{
    if (f == NULL)
        return;
    if (f->writable != NULL)
        event_free(f->writable);
    if (f->notify != NULL)
        event_free(f->notify);
    if (f->queue != NULL)
        evbuffer_free(f->queue);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

int feed_write(struct feed *f, const void *p, size_t n)
{
    if (!feed_is_open(f))
        return -EPIPE;
    if (evbuffer_add(f->queue, p, n) < 0)
        return -ENOMEM;
    on_writable(f->fd, EV_WRITE, f);
    return 0;
}

void feed_close(struct feed *f)
{
    f->closing = true;
    if (f->fd >= 0)
        on_writable(f->fd, EV_WRITE, f);
}

bool feed_is_open(const struct feed *f)
{
    return f->fd >= 0 && !f->closing;
}

bool feed_has_room(const struct feed *f)
{
    return f->fd < 0 || evbuffer_get_length(f->queue) < QUEUE_MAX;
}

void feed_on_room(struct feed *f, void (*on_room)(void *arg), void *arg)
{
    f->on_room = on_room;
    f->room_arg = arg;
    notify(f);
}
