#include "execd/code/askline.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/mem.h"

#define ANSWER_MAX 600

struct askline {
    int fd;              /* owned */
    struct event *event; /* owned */
    askline_fn fn;       /* NULL while nothing is asked */
    void *arg;
};

static void answer(struct askline *c, const char *why)
{
    askline_fn fn = c->fn;
    (void)event_del(c->event); /* cannot fail for an event of ours */
    c->fn = NULL;
    fn(c->arg, why); /* may free c */
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    struct askline *c = arg;
    char text[ANSWER_MAX];

    /* Behind the limit too: libevent tells of that alone when both are there. */
    ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    bool nothing = n < 0 && (errno == EAGAIN || errno == EINTR);
    if (nothing && !(what & EV_TIMEOUT))
        return;
    text[MAX(n, 0)] = '\0';
    if (strcmp(text, "ok") == 0)
        answer(c, NULL);
    else if (n > 0)
        answer(c, text);
    else
        answer(c, nothing ? "no answer in time" : "the kernel has ended");
}

struct askline *askline_new(struct event_base *base, int fd)
{
    struct askline *c = xnew(struct askline);
    c->fd = fd;
    c->event = event_new(base, fd, EV_READ | EV_PERSIST, on_answer, c);
    if (c->event == NULL) {
        close(fd);
        free(take_ptr(&c));
    }
    return c;
}

void askline_free(struct askline *c)
{
    if (c == NULL)
        return;
    event_free(c->event);
    close(c->fd);
    free(c);
}

int askline_socket(const struct askline *c)
{
    return c->fd;
}

int askline_send(int fd, const char *text, size_t len, const int *fds, size_t n_fds)
{
    _Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(int) * ASKLINE_FDS_MAX)] = {0};
    struct iovec iov = {(char *)text, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (len > ASKLINE_REQUEST_MAX || n_fds > ASKLINE_FDS_MAX)
        return -E2BIG;
    if (n_fds > 0) {
        msg.msg_control = room;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        /* -fanalyzer: there is room for one */
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
    }
    return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len ? 0 : -EAGAIN;
}

/* What came unasked is old or made up: a late answer, or the user's code at play. */
static void drain(const struct askline *c)
{
    char text[ANSWER_MAX];
    for (int i = 0; i < 64 && recv(c->fd, text, sizeof(text), MSG_DONTWAIT) > 0; i++)
        ;
}

int askline_ask(struct askline *c, const char *text, size_t len, const int *fds, size_t n_fds,
                int limit_ms, askline_fn fn, void *arg)
{
    struct timeval limit = {limit_ms / 1000, limit_ms % 1000 * 1000};

    if (c->fn != NULL)
        return -EBUSY;
    drain(c);
    int r = askline_send(c->fd, text, len, fds, n_fds);
    if (r < 0)
        return r == -EAGAIN ? -EPIPE : r;
    if (event_add(c->event, &limit) < 0)
        return -ENOMEM;
    c->fn = fn;
    c->arg = arg;
    return 0;
}
