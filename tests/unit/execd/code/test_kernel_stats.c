/* Figures of kernels by type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "execd/code/kernel_stats.h"
#include "proto/base/clock.h"

static struct kernel_stats stats;

static int set_up(void **state)
{
    (void)state;
    stats = (struct kernel_stats){0};
    return 0;
}

static void test_times_find_their_bucket(void **state)
{
    (void)state;
    int64_t start_ns = clock_monotonic_ns() - INT64_C(300000000);
    kernel_stats_started(&stats, "python3", start_ns);
    kernel_stats_executed(&stats, "python3", start_ns - INT64_C(60000000000), false);
    assert_int_equal(stats.n, 1);
    assert_int_equal(stats.types[0].starts.counts[7], 1); /* up to 0.5 s */
    assert_true(stats.types[0].starts.sum_s >= 0.3);
    assert_int_equal(stats.types[0].executions.counts[KERNEL_TIME_BOUNDS], 1);
    assert_int_equal(stats.types[0].n_executed, 1);
}

static void test_what_failed_has_no_time(void **state)
{
    (void)state;
    kernel_stats_executed(&stats, "ir", clock_monotonic_ns(), true);
    kernel_stats_executed(&stats, "ir", 0, false); /* ended before it began */
    assert_int_equal(stats.types[0].n_failed, 1);
    assert_int_equal(stats.types[0].n_executed, 1);
    for (size_t i = 0; i <= KERNEL_TIME_BOUNDS; i++)
        assert_int_equal(stats.types[0].executions.counts[i], 0);
}

static void test_names_are_bounded(void **state)
{
    char name[2 * KERNEL_TYPE_LEN];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    kernel_stats_row(&stats, name)->n_failed++;
    for (unsigned i = 0; i < 3 * KERNEL_TYPES_MAX; i++) {
        snprintf(name, sizeof(name), "kernel-%u", i);
        kernel_stats_row(&stats, name)->n_failed++;
    }
    assert_int_equal(stats.n, KERNEL_TYPES_MAX - 1);
    assert_string_equal(stats.types[0].name, "other");
    assert_int_equal(stats.types[0].n_failed, 1 + 3 * KERNEL_TYPES_MAX - (KERNEL_TYPES_MAX - 2));
    assert_ptr_equal(kernel_stats_row(&stats, "kernel-1"), &stats.types[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_times_find_their_bucket, set_up),
        cmocka_unit_test_setup(test_what_failed_has_no_time, set_up),
        cmocka_unit_test_setup(test_names_are_bounded, set_up),
    };

    return cmocka_run_group_tests_name("kernel_stats", tests, NULL, NULL);
}
