#include "proto/http/upstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"

static int resolve(const struct relay_target *t, struct sockaddr_storage *sa, socklen_t *ret_len)
{
    struct sockaddr_un *un = (struct sockaddr_un *)sa;
    struct sockaddr_in *v4 = (struct sockaddr_in *)sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)sa;

    memset(sa, 0, sizeof(*sa));
    if (t->unix_path) {
        if (strlen(t->unix_path) >= sizeof(un->sun_path))
            return -ENAMETOOLONG;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, t->unix_path, strlen(t->unix_path) + 1);
        *ret_len = sizeof(*un);
    } else if (inet_pton(AF_INET, t->address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(t->port);
        *ret_len = sizeof(*v4);
    } else if (inet_pton(AF_INET6, t->address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(t->port);
        *ret_len = sizeof(*v6);
    } else {
        return -EINVAL;
    }
    return 0;
}

/* The text names no address: it goes to clients. */
static int refuse(struct err *err, int errnum)
{
    return err_set(err, ERR_BACKEND_CONNECTION_FAILED, errnum,
                   "the backend does not accept connections (%s)", err_name(errnum));
}

static int begin_connect(const struct relay_target *target, int *ret_fd)
{
    static const int on = 1;
    struct sockaddr_storage sa;
    socklen_t len = 0;
    int r = resolve(target, &sa, &len);

    if (r < 0)
        return r;
    cleanup_fd int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (sa.ss_family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* costs latency only */
    if (connect(fd, (const struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

int upstream_open(struct event_base *base, const struct relay_target *target,
                  struct bufferevent **ret_bev, struct err *err)
{
    struct bufferevent *bev;
    cleanup_fd int fd = target->fd > 0 ? target->fd : -1;
    int r = fd > 0 ? fd_set_nonblock(fd, true) : begin_connect(target, &fd);

    if (r < 0)
        return refuse(err, -r);
    bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!bev)
        return refuse(err, ENOMEM);
    (void)take_fd(&fd); /* the bufferevent's now */
    if (bufferevent_socket_connect(bev, NULL, 0) < 0) {
        bufferevent_free(bev);
        return refuse(err, EIO);
    }
    *ret_bev = bev;
    return 0;
}
