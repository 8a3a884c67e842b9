/* Listening sockets as the kernel tells them, in both ways, and as it never should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "execd/ports/scan.h"

static struct port_list list;

static int setup(void **state)
{
    (void)state;
    memset(&list, 0, sizeof(list));
    return 0;
}

static void test_proc_text(void **state)
{
    static const char v4[] = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when "
                             "retrnsmt   uid  timeout inode\n"
                             "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 "
                             "00000000  1000        0 4711 1 0\n"
                             "   1: 0100007F:1F91 0100007F:C001 01 00000000:00000000 00:00000000 "
                             "00000000     0        0 4712 1 0\n"
                             "   2: nonsense\n"
                             "   3: 0100007F 00000000:0000 0A 0:0 0:0 0 0 0 1 1\n";
    static const char v6[] = "   0: 00000000000000000000000000000000:0050 "
                             "00000000000000000000000000000000:0000 0A 00000000:00000000 "
                             "00:00000000 00000000     0        0 99 1 0\n"
                             "   1: 00000000000000000000000001000000:0051 "
                             "00000000000000000000000000000000:0000 0A 00000000:00000000 "
                             "00:00000000 00000000     0        0 98 1 0";

    (void)state;
    ports_parse_proc(v4, false, &list);
    assert_int_equal(list.n, 1);
    assert_int_equal(list.items[0].port, 8080);
    assert_string_equal(list.items[0].address, "127.0.0.1");
    assert_int_equal(list.items[0].uid, 1000);
    assert_int_equal(list.items[0].inode, 4711);
    ports_parse_proc(v6, true, &list);
    assert_int_equal(list.n, 3);
    assert_string_equal(list.items[1].address, "::");
    assert_string_equal(list.items[2].address, "::1");
    assert_int_equal(list.items[2].port, 81);
}

static void test_a_flood_of_sockets_is_cut(void **state)
{
    static const char line[] =
        "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 99 1 0\n";

    (void)state;
    for (int i = 0; i < PORTS_MAX + 1; i++)
        ports_parse_proc(line, false, &list);
    assert_int_equal(list.n, PORTS_MAX);
    assert_true(list.truncated);
}

struct datagram {
    struct nlmsghdr header;
    struct inet_diag_msg socket;
};

static struct datagram one_socket(void)
{
    struct datagram d = {.header = {.nlmsg_len = sizeof(d), .nlmsg_type = SOCK_DIAG_BY_FAMILY}};

    d.socket.idiag_family = AF_INET;
    d.socket.id.idiag_sport = htons(443);
    d.socket.id.idiag_src[0] = htonl(0x0a000001);
    d.socket.idiag_inode = 5;
    return d;
}

static void test_diag_messages(void **state)
{
    struct datagram two[2] = {one_socket(), one_socket()};
    int error = 1;

    (void)state;
    assert_true(ports_parse_diag(two, sizeof(two), &list, &error));
    assert_int_equal(error, 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(list.items[0].port, 443);
    assert_string_equal(list.items[0].address, "10.0.0.1");
    two[1].header.nlmsg_type = NLMSG_DONE;
    assert_false(ports_parse_diag(two, sizeof(two), &list, &error));
    assert_int_equal(error, 0);
    assert_int_equal(list.n, 3);
}

static void test_diag_errors(void **state)
{
    struct datagram d = one_socket();
    struct {
        struct nlmsghdr header;
        int code;
    } refused = {{.nlmsg_len = sizeof(refused), .nlmsg_type = NLMSG_ERROR}, -ENOENT};
    int error;

    (void)state;
    assert_false(ports_parse_diag(&refused, sizeof(refused), &list, &error));
    assert_int_equal(error, -ENOENT);
    d.header.nlmsg_len = sizeof(d) + 1;
    assert_false(ports_parse_diag(&d, sizeof(d), &list, &error));
    assert_int_equal(error, -EBADMSG);
    d.header.nlmsg_len = 3;
    assert_false(ports_parse_diag(&d, sizeof(d), &list, &error));
    assert_int_equal(error, -EBADMSG);
    d = one_socket();
    assert_true(ports_parse_diag(&d, sizeof(d.header) - 1, &list, &error)); /* a stub is nothing */
    assert_int_equal(list.n, 0);
}

static void test_a_real_socket_is_found_with_its_holder(void **state)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool found = false;

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(ports_scan(&list), 0);
    for (size_t i = 0; i < list.n; i++) {
        if (list.items[i].port == ntohs(sa.sin_port) && !list.items[i].v6) {
            found = true;
            assert_string_equal(list.items[i].address, "127.0.0.1");
            assert_int_equal(list.items[i].pid, getpid());
            assert_string_equal(list.items[i].comm, "test_scan");
        }
        assert_true(i == 0 || list.items[i - 1].port <= list.items[i].port);
    }
    assert_true(found);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_proc_text, setup),
        cmocka_unit_test_setup(test_a_flood_of_sockets_is_cut, setup),
        cmocka_unit_test_setup(test_diag_messages, setup),
        cmocka_unit_test_setup(test_diag_errors, setup),
        cmocka_unit_test_setup(test_a_real_socket_is_found_with_its_holder, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
