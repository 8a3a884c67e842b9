#include "proto/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "proto/base/fd.h"
#include "proto/http/address.h"
#include "proto/http/conn_priv.h"

#define BACKLOG 1024
#define ACCEPTS_MAX 64 /* per event, before others get the loop */
#define PAUSE_MS 100   /* without descriptors */

/* ---- accepting ---------------------------------------------------------------------------------- */

static void format_peer(const struct sockaddr_storage *sa, char *buf, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    bool v4 = sa->ss_family == AF_INET;

    if (sa->ss_family == AF_UNIX) {
        (void)snprintf(buf, size, "unix"); /* fits */
        return;
    }
    if (v4) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

        port = ntohs(in->sin_port);
        (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text)); /* fits */
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)sa;

        port = ntohs(in->sin6_port);
        v4 = IN6_IS_ADDR_V4MAPPED(&in->sin6_addr);
        (void)inet_ntop(v4 ? AF_INET : AF_INET6,
                        v4 ? &in->sin6_addr.s6_addr[12] : in->sin6_addr.s6_addr, text,
                        sizeof(text)); /* fits */
    }
    (void)snprintf(buf, size, v4 ? "%s:%u" : "[%s]:%u", text, port); /* fits */
}

static void take_client(const struct listener *l, int fd, const struct sockaddr_storage *sa)
{
    struct http_server *server = l->server;
    const struct http_limits *limits = &server->config.limits;
    char peer[64];

    server->stats.accepted++;
    if (server->stats.open_conns >= limits->conns_max && !conn_drop_oldest(server)) {
        server->stats.rejected++;
        close(fd);
        return;
    }
    format_peer(sa, peer, sizeof(peer));
    if (conn_new(server, fd, peer, sa->ss_family == AF_UNIX, l->tag) < 0)
        server->stats.rejected++;
}

static int open_spare(void)
{
    return open("/", O_PATH | O_CLOEXEC);
}

/* Descriptors are exhausted: one connection is accepted with the spare and closed, and where even that
 * fails the listeners rest for a moment instead of waking for ever. */
static void shed_one(struct http_server *server, int listen_fd)
{
    static const struct timeval rest = {0, PAUSE_MS * 1000};
    struct listener *l;

    server->stats.rejected++;
    if (server->spare_fd >= 0) {
        int fd;

        close(server->spare_fd);
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        server->spare_fd = open_spare();
        if (server->spare_fd >= 0)
            return;
    }
    SLIST_FOREACH(l, &server->listeners, link)
    (void)event_del(l->event); /* cannot fail for an initialised event */
    (void)event_add(server->pause,
                    &rest); /* failing needs a lack of memory; then nothing would help */
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *server = arg;
    struct listener *l;

    (void)fd;
    (void)what;
    if (server->spare_fd < 0)
        server->spare_fd = open_spare();
    SLIST_FOREACH(l, &server->listeners, link)
    (void)event_add(l->event, NULL); /* was added before: no memory needed */
}

static void on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
    struct listener *l = arg;

    (void)what;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage sa = {0};
        socklen_t len = sizeof(sa);
        int fd = accept4(listen_fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take_client(l, fd, &sa);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            shed_one(l->server, listen_fd);
        if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

/* ---- binding ------------------------------------------------------------------------------------ */

/* A file whose socket nobody serves is a leftover; a live one belongs to somebody. */
static int clear_stale(const struct http_address *a, struct err *err)
{
    cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    if (fd < 0)
        return err_sys(err, 0, errno, "socket");
    if (lstat(a->unix_path, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(err, 0, errno, "stat '%s'", a->unix_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, 0, EEXIST, "listen: '%s' exists and is not a socket", a->unix_path);
    if (connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0 || errno == EAGAIN)
        return err_set(err, 0, EADDRINUSE, "listen: '%s' is served by another process",
                       a->unix_path);
    if (unlink(a->unix_path) < 0 && errno != ENOENT)
        return err_sys(err, 0, errno, "unlink '%s'", a->unix_path);
    return 0;
}

static int prepare_socket(int fd, int family, struct err *err)
{
    static const int on = 1, off = 0;

    if (family ==
        AF_UNIX) /* the mode of the socket file comes from its inode: no window with wider rights */
        return fchmod(fd, 0600) < 0 ? err_sys(err, 0, errno, "fchmod of a socket") : 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return err_sys(err, 0, errno, "SO_REUSEADDR");
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
        return err_sys(err, 0, errno, "IPV6_V6ONLY");
    return 0;
}

static int bound_port(int fd)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);

    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return 0;
    if (sa.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&sa)->sin_port);
    return sa.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&sa)->sin6_port) : 0;
}

static int add_listener(struct http_server *server, int fd, const char *unix_path, unsigned tag,
                        struct err *err)
{
    struct listener *l = xnew(struct listener);

    l->server = server;
    l->fd = fd;
    l->event = event_new(server->base, fd, EV_READ | EV_PERSIST, on_accept, l);
    if (!l->event || event_add(l->event, NULL) < 0) {
        if (l->event)
            event_free(l->event);
        free(l);
        return err_set(err, 0, ENOMEM, "no memory for a listener");
    }
    l->port = bound_port(fd);
    l->tag = tag;
    l->unix_path = unix_path ? xstrdup(unix_path) : NULL;
    SLIST_INSERT_HEAD(&server->listeners, l, link);
    return 0;
}

int http_server_listen_tagged(struct http_server *server, const char *where, unsigned tag,
                              int *ret_port, struct err *err)
{
    struct http_address a;
    cleanup_fd int fd = -1;
    int port, r;

    r = http_address_parse(where, &a, err);
    if (r == 0 && a.unix_path)
        r = clear_stale(&a, err);
    if (r < 0)
        return r;
    fd = socket(a.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(err, 0, errno, "listen '%s': socket", where);
    r = prepare_socket(fd, a.sa.ss_family, err);
    if (r < 0)
        return r;
    if (bind(fd, (const struct sockaddr *)&a.sa, a.len) < 0 || listen(fd, BACKLOG) < 0)
        return err_sys(err, 0, errno, "listen '%s'", where);
    port = bound_port(fd);
    r = add_listener(server, fd, a.unix_path, tag, err);
    if (r < 0)
        return r;
    (void)take_fd(&fd); /* the listener's now */
    if (ret_port)
        *ret_port = port;
    return 0;
}

int http_server_listen(struct http_server *server, const char *where, int *ret_port,
                       struct err *err)
{
    return http_server_listen_tagged(server, where, 0, ret_port, err);
}

bool http_server_has_port(const struct http_server *server, uint16_t port)
{
    const struct listener *l;

    SLIST_FOREACH(l, &server->listeners, link)
    {
        if (l->port == port)
            return true;
    }
    return false;
}

int http_server_listen_fd(struct http_server *server, int listen_fd, struct err *err)
{
    int r = fd_set_nonblock(listen_fd, true);

    if (r < 0)
        return err_set(err, 0, -r, "listen: descriptor %d cannot be used", listen_fd);
    return add_listener(server, listen_fd, NULL, 0, err);
}

/* ---- life cycle --------------------------------------------------------------------------------- */

int listen_init(struct http_server *server)
{
    server->pause = evtimer_new(server->base, on_pause_over, server);
    server->spare_fd = open_spare();
    return server->pause ? 0 : -ENOMEM;
}

void listen_accept_waiting(struct http_server *server)
{
    struct listener *l;

    SLIST_FOREACH(l, &server->listeners, link)
    on_accept(l->fd, EV_READ, l);
}

void listen_stop(struct http_server *server)
{
    struct listener *l;

    while ((l = SLIST_FIRST(&server->listeners))) {
        SLIST_REMOVE_HEAD(&server->listeners, link);
        event_free(l->event);
        close(l->fd);
        if (l->unix_path)
            (void)unlink(l->unix_path); /* a leftover is replaced at the next start */
        free(l->unix_path);
        free(l);
    }
    if (server->pause)
        (void)event_del(server->pause); /* cannot fail for an initialised event */
}

void listen_done(struct http_server *server)
{
    listen_stop(server);
    if (server->pause)
        event_free(server->pause);
    if (server->spare_fd >= 0)
        close(server->spare_fd);
    server->pause = NULL;
    server->spare_fd = -1;
}
