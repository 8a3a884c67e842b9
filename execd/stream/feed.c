#include "execd/stream/feed.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "proto/base/mem.h"

#define QUEUE_MAX (256 * 1024)

struct feed {
    int fd;                 /* owned; -1 when closed */
    struct evbuffer *queue; /* owned */
    struct event *writable; /* owned */
    struct event *notify;   /* owned: posts the first waiter's on_room */
    size_t packet;          /* bytes per write; 0 = any */
    bool closing;
    TAILQ_HEAD(, feed_waiter) waiters; /* borrowed */
};

static void notify(struct feed *f)
{
    if (!TAILQ_EMPTY(&f->waiters) && feed_has_room(f))
        event_active(f->notify, EV_TIMEOUT, 0);
}

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
    struct feed *f = arg;
    struct feed_waiter *w = TAILQ_FIRST(&f->waiters);

    (void)fd;
    (void)what;
    if (w == NULL || !feed_has_room(f))
        return;
    feed_forget(f, w);
    w->on_room(w->arg);
    notify(f); /* what is left of the room is the next one's */
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
    TAILQ_INIT(&f->waiters);
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
    struct feed_waiter *w;

    if (f == NULL)
        return;
    while ((w = TAILQ_FIRST(&f->waiters)) != NULL) { /* they look again, and find it closed */
        feed_forget(f, w);
        w->on_room(w->arg);
    }
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

bool feed_is_through(const struct feed *f)
{
    int unread = 0;

    return f->fd >= 0 && evbuffer_get_length(f->queue) == 0 &&
           ioctl(f->fd, FIONREAD, &unread) == 0 && unread == 0;
}

bool feed_has_room(const struct feed *f)
{
    return f->fd < 0 || evbuffer_get_length(f->queue) < QUEUE_MAX;
}

void feed_await_room(struct feed *f, struct feed_waiter *w)
{
    if (!w->waits)
        TAILQ_INSERT_TAIL(&f->waiters, w, link);
    w->waits = true;
    notify(f);
}

void feed_forget(struct feed *f, struct feed_waiter *w)
{
    if (w->waits)
        TAILQ_REMOVE(&f->waiters, w, link);
    w->waits = false;
}
