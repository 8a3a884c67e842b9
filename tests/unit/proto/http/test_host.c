/* Names that a listener without a token is served under. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/http/host.h"

static void trusted_names(void **state)
{
    static const char *const hosts[] = {
        "localhost",  "localhost:8888", "LocalHost:1", "lab.localhost:80",
        "127.0.0.1",  "127.0.0.1:8888", "10.1.2.3:80", "[::1]",
        "[::1]:8888", "[fd00::2]:80",   "0.0.0.0:1",   "[2001:db8::1]:1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        assert_true(host_is_trusted(hosts[i], NULL));
}

static void names_that_others_can_own(void **state)
{
    static const char *const hosts[] = {
        "evil.example",
        "evil.example:8888",
        "localhost.evil.example",
        "notlocalhost",
        "localhost.",
        ".localhost",
        "127.0.0.1.x.y",
        "127.0.0.1.evil:80",
        "127.1",
        "2130706433:80",
        "0x7f.0.0.1",
        "[::1",
        "[::1].evil:80",
        "[evil.example]:80",
        "[]",
        "",
        ":80",
        "127.0.0.1@evil.example",
        "evil/127.0.0.1",
        "127.0.0.1 .evil",
        "1111111111111111111111111111111111111111111111111111111111111111111111111.1.1.1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        assert_false(host_is_trusted(hosts[i], NULL));
}

static void hosts_of_allowed_origins(void **state)
{
    static const char *const some[] = {"https://lab.example", "http://kernels:8888", NULL};
    static const char *const all[] = {"https://lab.example", "*", NULL};
    (void)state;
    assert_true(host_is_trusted("lab.example", some));
    assert_true(host_is_trusted("LAB.example:8888", some));
    assert_true(host_is_trusted("kernels", some));
    assert_true(host_is_trusted("localhost:1", some));
    assert_false(host_is_trusted("lab.example.evil", some));
    assert_false(host_is_trusted("lab", some));
    assert_false(host_is_trusted("kernels8888", some));
    assert_true(host_is_trusted("anything.at.all:1", all));
}

static void hosts_without_a_scheme(void **state)
{
    static const char *const some[] = {"boxes.example:8080", "", NULL};
    (void)state;
    assert_true(host_is_trusted("boxes.example", some));
    assert_true(host_is_trusted("Boxes.Example:80", some));
    assert_false(host_is_trusted("boxes.example.evil", some));
    assert_false(host_is_trusted("evil", some));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trusted_names),
        cmocka_unit_test(names_that_others_can_own),
        cmocka_unit_test(hosts_of_allowed_origins),
        cmocka_unit_test(hosts_without_a_scheme),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
