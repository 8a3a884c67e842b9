/* E08: the count of wrong tokens by address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "execd/harden/attempts.h"

static struct attempts a;

static int clear(void **state)
{
    (void)state;
    memset(&a, 0, sizeof(a));
    return 0;
}

static int take(const char *peer, int n, int64_t now_ms, int *ret_firsts)
{
    int allowed = 0;
    *ret_firsts = 0;
    for (int i = 0; i < n; i++) {
        bool first;
        allowed += attempts_take(&a, peer, now_ms, &first);
        *ret_firsts += first;
    }
    return allowed;
}

static void test_a_burst_then_one_a_second(void **state)
{
    int firsts;
    (void)state;
    assert_int_equal(take("10.0.0.1:1", 500, 1000, &firsts), ATTEMPTS_BURST);
    assert_int_equal(firsts, 1);
    assert_int_equal(take("10.0.0.1:2", 10, 1999, &firsts), 0);
    assert_int_equal(take("10.0.0.1:3", 10, 2000, &firsts), 1);
    assert_int_equal(take("10.0.0.1:3", 10, 4500, &firsts), 2);
    assert_int_equal(firsts, 0);
    assert_int_equal(take("10.0.0.1:4", 500, 500000, &firsts), ATTEMPTS_BURST);
    assert_int_equal(firsts, 1);
}

static void test_addresses_are_apart_and_ports_are_not(void **state)
{
    int firsts;
    (void)state;
    assert_int_equal(take("[::1]:1", 200, 1, &firsts), ATTEMPTS_BURST);
    assert_int_equal(take("[::1]:2", 1, 1, &firsts), 0);
    assert_int_equal(take("[::2]:1", 1, 1, &firsts), 1);
    assert_int_equal(take("unix", 200, 1, &firsts), ATTEMPTS_BURST);
    assert_int_equal(take("unix", 1, 1, &firsts), 0);
}

static void test_the_table_is_bounded_and_the_quiet_give_way(void **state)
{
    int firsts;
    (void)state;
    assert_int_equal(take("guesser:1", 200, 1000000, &firsts), ATTEMPTS_BURST);
    for (int i = 0; i < ATTEMPTS_PEERS - 1; i++) {
        char peer[32];
        snprintf(peer, sizeof(peer), "peer%d:1", i);
        assert_int_equal(take(peer, 1, 1000, &firsts), 1);
    }
    assert_int_equal(take("guesser:2", 1, 1000001, &firsts), 0);
    assert_int_equal(take("one-more:1", 1, 1000001, &firsts), 1);
    assert_int_equal(take("guesser:2", 1, 1000001, &firsts), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_burst_then_one_a_second, clear),
        cmocka_unit_test_setup(test_addresses_are_apart_and_ports_are_not, clear),
        cmocka_unit_test_setup(test_the_table_is_bounded_and_the_quiet_give_way, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
