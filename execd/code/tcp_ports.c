#include "execd/code/tcp_ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"

static int take_one(int *ret_fd, uint16_t *ret_port)
{
    static const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    cleanup_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return -errno;
    *ret_port = ntohs(address.sin_port);
    *ret_fd = take_fd(&fd);
    return 0;
}

int tcp_ports_take(struct tcp_ports *ports, struct err *err)
{
    struct tcp_ports taken = {0};
    for (; taken.n < TCP_PORTS_MAX; taken.n++) {
        int r = take_one(&taken.fds[taken.n], &taken.ports[taken.n]);
        if (r < 0) {
            tcp_ports_release(&taken);
            return err_sys(err, ERR_KERNEL_UNAVAILABLE, -r, "take a port of 127.0.0.1");
        }
    }
    *ports = taken;
    return 0;
}

void tcp_ports_release(struct tcp_ports *ports)
{
    while (ports->n > 0)
        close(ports->fds[--ports->n]);
}
