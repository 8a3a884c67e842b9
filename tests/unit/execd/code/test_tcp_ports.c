#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/code/tcp_ports.h"
#include "proto/api/errors.h"

static int bind_to(uint16_t port, bool reuse)
{
    int on = reuse, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0) {
        close(fd);
        return -errno;
    }
    return fd;
}

static void a_kernel_can_listen_on_what_is_taken(void **state)
{
    (void)state;
    struct tcp_ports ports;
    assert_int_equal(tcp_ports_take(&ports, NULL), 0);
    assert_int_equal(ports.n, TCP_PORTS_MAX);
    for (unsigned i = 0; i < ports.n; i++) {
        assert_true(fcntl(ports.fds[i], F_GETFD) & FD_CLOEXEC);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(ports.ports[i], ports.ports[k]);
        assert_true(bind_to(ports.ports[i], false) < 0);
        int fd = bind_to(ports.ports[i], true);
        assert_true(fd >= 0);
        close(fd);
    }
    tcp_ports_release(&ports);
    tcp_ports_release(&ports);
    assert_int_equal(ports.n, 0);
}

/* Nobody who asks for any port is given one of them. */
static void nobody_gets_them_by_chance(void **state)
{
    (void)state;
    enum { MANY = 200 };
    struct tcp_ports mine, others[MANY / TCP_PORTS_MAX];
    assert_int_equal(tcp_ports_take(&mine, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(tcp_ports_take(&others[i], NULL), 0);
        for (unsigned k = 0; k < others[i].n; k++)
            for (unsigned m = 0; m < mine.n; m++)
                assert_int_not_equal(others[i].ports[k], mine.ports[m]);
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        tcp_ports_release(&others[i]);
    tcp_ports_release(&mine);
}

static void without_descriptors_nothing_is_held(void **state)
{
    (void)state;
    struct rlimit limit, few;
    struct err err = {0};
    struct tcp_ports ports = {0};
    int next = dup(0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    few = limit;
    few.rlim_cur = (rlim_t)next + 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(tcp_ports_take(&ports, &err), -EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(err.code, ERR_KERNEL_UNAVAILABLE);
    assert_int_equal(ports.n, 0);
    int again = dup(0);
    assert_int_equal(again, next);
    close(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_can_listen_on_what_is_taken),
        cmocka_unit_test(nobody_gets_them_by_chance),
        cmocka_unit_test(without_descriptors_nothing_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
