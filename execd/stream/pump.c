#include "execd/stream/pump.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "proto/base/mem.h"

#define READ_SIZE (64 * 1024)

struct source {
    struct pump *pump; /* borrowed */
    int fd;            /* owned; -1 after EOF */
    enum event_type type;
    struct event *readable; /* owned */
    int left;               /* after the linger: bytes that were in the pipe by then; -1 before */
};

struct pump {
    struct event_base *base; /* borrowed */
    struct channel *ch;      /* ref */
    struct source source[2];
    int linger_ms;
    struct event *linger; /* owned; runs from the leader's exit */
    struct event *ended;  /* owned; posts on_end */
    bool waiting;         /* for room in the channel */
    bool last;            /* the linger is over: what is left is little and needs no room */
    bool is_ended;        /* on_end was posted */
    void (*on_end)(void *arg);
    void *arg;
};

static void close_source(struct source *s)
{
    if (s->readable != NULL)
        event_free(s->readable);
    s->readable = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static void check_end(struct pump *p)
{
    if (p->source[0].fd >= 0 || p->source[1].fd >= 0 || p->is_ended)
        return;
    p->is_ended = true;
    event_active(p->ended, EV_TIMEOUT, 0);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
    struct pump *p = arg;

    (void)fd;
    (void)what;
    if (p->linger != NULL)
        (void)event_del(p->linger);
    p->on_end(p->arg);
}

static void watch(struct pump *p, bool on)
{
    for (int i = 0; i < 2; i++) {
        struct source *s = &p->source[i];
        if (s->readable == NULL)
            continue;
        if ((on ? event_add(s->readable, NULL) : event_del(s->readable)) < 0)
            close_source(
                s); /* no memory for an event: better a short output than a stream without end */
    }
}

static void on_room(void *arg)
{
    struct pump *p = arg;

    p->waiting = false;
    watch(p, true);
    check_end(p);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    static char buffer[READ_SIZE]; /* loop thread only */
    struct source *s = arg;
    struct pump *p = s->pump;
    size_t want = sizeof(buffer);

    (void)what;
    if (s->left >= 0)
        want = MIN(want, (size_t)s->left);
    ssize_t n = want > 0 ? read(fd, buffer, want) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && s->left < 0)
        return;
    if (n > 0) {
        channel_append(p->ch, s->type, buffer, (size_t)n);
        if (s->left >= 0)
            s->left -= (int)n;
    }
    if (n <= 0 || s->left == 0) {
        close_source(s);
        check_end(p);
    }
    if (!p->last && !p->waiting && !channel_has_room(p->ch)) {
        p->waiting = true;
        watch(p, false);
        channel_on_room(p->ch, on_room, p);
    }
}

/* Somebody keeps the pipe open, or a slow reader kept us from looking. What is in the pipe now still counts, what
 * comes later does not. It is taken even where there is no room: no client may decide when a process has ended. */
static void on_linger(evutil_socket_t fd, short what, void *arg)
{
    struct pump *p = arg;

    (void)fd;
    (void)what;
    p->last = true;
    for (int i = 0; i < 2; i++) {
        struct source *s = &p->source[i];
        if (s->fd < 0)
            continue;
        if (ioctl(s->fd, FIONREAD, &s->left) < 0 || s->left <= 0)
            close_source(s);
    }
    if (p->waiting) {
        p->waiting = false;
        channel_on_room(p->ch, NULL, NULL);
        watch(p, true);
    }
    check_end(p);
}

static int open_source(struct pump *p, int index, int fd, enum event_type type)
{
    struct source *s = &p->source[index];

    *s = (struct source){.pump = p, .fd = fd, .type = type, .left = -1};
    if (fd < 0)
        return 0;
    int rc = fd_set_nonblock(fd, true);
    if (rc < 0)
        return rc;
    s->readable = event_new(p->base, fd, EV_READ | EV_PERSIST, on_readable, s);
    return s->readable == NULL || event_add(s->readable, NULL) < 0 ? -ENOMEM : 0;
}

int pump_new(struct event_base *base, struct channel *ch, int out_fd, int err_fd, int linger_ms,
             void (*on_end)(void *arg), void *arg, struct pump **ret_pump)
{
    struct pump *p = xnew(struct pump);

    *p = (struct pump){
        .base = base, .ch = channel_ref(ch), .linger_ms = linger_ms, .on_end = on_end, .arg = arg};
    p->source[0].fd = p->source[1].fd = -1;
    p->ended = event_new(base, -1, 0, on_ended, p);
    p->linger = event_new(base, -1, 0, on_linger, p);
    int rc = p->ended == NULL || p->linger == NULL ? -ENOMEM : 0;
    int rc_out = open_source(p, 0, out_fd, EVENT_STDOUT);
    int rc_err = open_source(p, 1, err_fd, EVENT_STDERR);
    if (rc < 0 || rc_out < 0 || rc_err < 0) {
        pump_free(p); /* the descriptors are taken in every case */
        return rc < 0 ? rc : rc_out < 0 ? rc_out : rc_err;
    }
    check_end(p);
    *ret_pump = p;
    return 0;
}

void pump_leader_exited(struct pump *p)
{
    struct timeval tv = {.tv_sec = p->linger_ms / 1000, .tv_usec = (p->linger_ms % 1000) * 1000};

    if (event_add(p->linger, &tv) < 0)
        on_linger(-1, 0, p);
}

void pump_free(struct pump *p)
{
    if (p == NULL)
        return;
    close_source(&p->source[0]);
    close_source(&p->source[1]);
    if (p->waiting)
        channel_on_room(p->ch, NULL, NULL);
    if (p->linger != NULL)
        event_free(p->linger);
    if (p->ended != NULL)
        event_free(p->ended);
    channel_unref(p->ch);
    free(p);
}
