#include "execd/isolate/control.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

/* Making namespaces and mounts takes milliseconds; a busy machine may take its time. */
#define REPLY_DEADLINE_S 15
#define REPLY_MAX 4096

struct control {
    const struct control_ops *ops;
    void *arg;
    int fd;             /* owned */
    struct event *read; /* owned */
    struct strbuf line;
    int mount_ns; /* owned; of the session, once it is set up */
    bool replied;
};

static void gone(struct control *c)
{
    (void)event_del(c->read);
    c->ops->on_gone(c->arg);
}

/* The line is complete: false when it makes no sense. */
static bool take_reply(struct control *c)
{
    struct isolate_reply reply = {0};
    struct arena arena;

    arena_init(&arena);
    bool ok = isolate_reply_decode(c->line.data, c->line.len, &arena, &reply, NULL) == 0;
    c->replied = true;
    strbuf_reset(&c->line);
    if (ok) {
        /* From now on only its end is waited for, without a deadline. */
        ok = event_del(c->read) == 0 && event_add(c->read, NULL) == 0;
        if (ok)
            c->ops->on_reply(c->arg, &reply); /* may free c */
    }
    arena_done(&arena);
    return ok;
}

/* As read(2); a descriptor that comes along is the session's mount namespace. */
static ssize_t receive(struct control *c, char *buffer, size_t size)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {buffer, size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    int fd;

    ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (head == NULL || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
        return n;
    memcpy(&fd, CMSG_DATA(head), sizeof(fd));
    if (c->mount_ns >= 0)
        close(c->mount_ns);
    c->mount_ns = fd;
    return n;
}

int control_mount_ns(const struct control *c)
{
    return c->mount_ns;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct control *c = arg;
    char buffer[512];

    ssize_t n = receive(c, buffer, sizeof(buffer)); /* at the deadline it may be there unread */
    (void)fd;
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && !(what & EV_TIMEOUT))
        return;
    if (n <= 0) {
        gone(c);
        return;
    }
    if (c->replied)
        return;
    strbuf_add(&c->line, buffer, (size_t)n);
    if (strbuf_check(&c->line) < 0) {
        gone(c);
        return;
    }
    if (c->line.data[c->line.len - 1] == '\n' && !take_reply(c))
        gone(c);
}

void control_hear(struct control *c)
{
    on_readable(c->fd, EV_READ, c);
}

/* The buffer of a socket takes it as a whole, or it is refused. */
static int give_plan(int fd, const struct isolate_plan *plan, struct err *err)
{
    size_t text_len;
    cleanup_free char *text = isolate_plan_encode(plan, &text_len);

    if (text == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory");
    if (text_len > ISOLATE_PLAN_MAX)
        return err_set(err, ERR_INVALID_REQUEST_BODY, E2BIG,
                       "the session's mounts and names take %zu bytes, at most %d", text_len,
                       ISOLATE_PLAN_MAX);
    uint32_t len = (uint32_t)text_len;
    int rc = fd_write_all(fd, &len, sizeof(len));
    if (rc == 0)
        rc = fd_write_all(fd, text, text_len);
    return rc < 0 ? err_sys(err, ERR_RUNTIME_ERROR, -rc, "hand over the session's plan") : 0;
}

int control_new(struct event_base *base, const struct isolate_plan *plan,
                const struct control_ops *ops, void *arg, struct control **ret_control,
                int *ret_theirs, struct err *err)
{
    static const struct timeval deadline = {.tv_sec = REPLY_DEADLINE_S};
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, errno, "make a control socket");
    cleanup_fd int theirs = pair[1];
    struct control *c = xnew(struct control);
    c->ops = ops;
    c->arg = arg;
    c->fd = pair[0];
    c->mount_ns = -1;
    strbuf_init(&c->line, REPLY_MAX);
    int rc = fd_set_nonblock(c->fd, true);
    if (rc == 0)
        rc = give_plan(c->fd, plan, err);
    c->read = event_new(base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    if (rc == 0 && (c->read == NULL || event_add(c->read, &deadline) < 0))
        rc = err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory");
    if (rc < 0) {
        control_free(c);
        return rc;
    }
    *ret_control = c;
    *ret_theirs = take_fd(&theirs);
    return 0;
}

void control_free(struct control *c)
{
    if (c == NULL)
        return;
    if (c->read != NULL)
        event_free(c->read);
    close(c->fd);
    if (c->mount_ns >= 0)
        close(c->mount_ns);
    strbuf_done(&c->line);
    free(c);
}
