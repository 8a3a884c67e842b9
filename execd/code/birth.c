#include "execd/code/birth.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "execd/code/askline.h"
#include "execd/proc/reaper.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/json/jfield.h"

#define FORK_MS 5000 /* a kernel of gigabytes takes some; one that is at work looks up late */

struct birth {
    int fd;              /* owned: our end */
    struct event *event; /* owned */
    birth_fn fn;
    void *arg;
};

static void birth_free(struct birth *b)
{
    if (b->event != NULL)
        event_free(b->event);
    if (b->fd >= 0)
        close(b->fd);
    free(b);
}

/* The word and its sender: the kernel vouches for the number, not the text. */
static ssize_t receive(int fd, char *text, size_t size, pid_t *ret_pid)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = {text, size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct ucred sender = {0};

    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
    const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
        memcpy(&sender, CMSG_DATA(c), sizeof(sender));
    *ret_pid = sender.pid;
    return n;
}

static void on_talk(evutil_socket_t fd, short what, void *arg)
{
    struct birth *b = arg;
    char text[600];
    pid_t sender = 0;

    /* Behind the limit too: libevent tells of that alone when both are there. */
    ssize_t n = receive(fd, text, sizeof(text) - 1, &sender);
    bool nothing = n < 0 && (errno == EAGAIN || errno == EINTR);
    if (nothing && !(what & EV_TIMEOUT))
        return;
    text[MAX(n, 0)] = '\0';
    (void)event_del(b->event); /* cannot fail for an event of ours */
    bool is_here = n > 0 && strcmp(text, "here") == 0;
    if (is_here && sender > 1 && reaper_is_child(sender) && !reaper_is_watched(sender)) {
        reaper_expect(sender);
        b->fn(b->arg, sender, NULL);
        return;
    }
    birth_fn fn = b->fn;
    void *fn_arg = b->arg;
    birth_free(b);
    fn(fn_arg, 0,
       n > 0 && !is_here ? text
       : nothing         ? "no answer in time"
                         : "the new process ended before it was there"); /* or just behind that */
}

static int ask(int server_fd, json_t *fields, struct leaf *leaf, int out_fd, int talk)
{
    int fds[PLAN_CGROUPS_MAX + 2] = {talk, out_fd};
    size_t n = out_fd >= 0 ? 2 : 1, len;
    struct spawn_plan plan;

    plan_init(&plan);
    leaf_add_to_plan(leaf, &plan);
    for (size_t i = 0; i < plan.n_cgroup_procs; i++)
        fds[n++] = plan.cgroup_procs[i];
    json_object_set_new(fields, "tag", json_integer((json_int_t)plan.tag));
    json_object_set_new(fields, "die_with_parent", json_boolean(getpid() != 1));
    cleanup_free char *text = json_compact(fields, &len);
    return text == NULL ? -ENOMEM : askline_send(server_fd, text, len, fds, n);
}

int birth_ask(struct event_base *base, int server_fd, json_t *fields, struct leaf *leaf, int out_fd,
              birth_fn fn, void *arg, struct birth **ret_birth)
{
    static const struct timeval patience = {.tv_sec = FORK_MS / 1000};
    cleanup_json json_t *owned = fields;
    int pair[2];

    if (owned == NULL)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    cleanup_fd int talk = pair[1];
    (void)setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &(int){1},
                     sizeof(int)); /* cannot fail here */
    struct birth *b = xnew(struct birth);
    *b = (struct birth){.fd = pair[0], .fn = fn, .arg = arg};
    b->event = event_new(base, b->fd, EV_READ | EV_PERSIST, on_talk, b);
    int r = b->event != NULL && event_add(b->event, &patience) == 0 ? 0 : -ENOMEM;
    if (r >= 0)
        r = ask(server_fd, owned, leaf, out_fd, talk);
    if (r < 0) {
        birth_free(b);
        return r;
    }
    *ret_birth = b;
    return 0;
}

int birth_go(struct birth *b)
{
    (void)!send(b->fd, "go", 2, MSG_DONTWAIT | MSG_NOSIGNAL); /* one that is dead needs none */
    int fd = take_fd(&b->fd);
    birth_free(b);
    return fd;
}

void birth_cancel(struct birth *b)
{
    if (b != NULL)
        birth_free(b); /* the closed socket ends what has come or comes into being */
}
