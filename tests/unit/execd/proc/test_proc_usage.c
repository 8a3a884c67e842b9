/* What /proc tells of a process: times and memory, from texts of any shape. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/proc/proc_usage.h"

static void test_times_are_those_of_the_process_and_its_children(void **state)
{
    struct leaf_usage usage = {0};
    (void)state;
    assert_int_equal(
        proc_usage_parse_stat("7 (a) b) 1 2) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0", 100,
                              &usage),
        0);
    assert_int_equal(usage.cpu_user_us, 1030000);
    assert_int_equal(usage.cpu_system_us, 240000);
    assert_true(usage.from_proc);
}

static void test_what_is_no_stat_says_nothing(void **state)
{
    static const char *const bad[] = {"",
                                      "7",
                                      "7 (",
                                      "7 (a)",
                                      "7 (a) S",
                                      "7 (a) S 1 7 7 0 -1 4 1 2 3 4 x",
                                      "7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct leaf_usage usage = {0};
        assert_int_equal(proc_usage_parse_stat(bad[i], 100, &usage), -EBADMSG);
        assert_false(usage.from_proc);
    }
}

static void test_memory_is_found_by_whole_labels(void **state)
{
    struct leaf_usage usage = {0};
    (void)state;
    proc_usage_parse_status("Name:\tVmHWM: 9\nXVmRSS: 5 kB\nVmHWM:\t  12 kB\nVmRSS:\t 8 kB\n",
                            &usage);
    assert_int_equal(usage.memory_peak, 12 << 10);
    assert_int_equal(usage.memory_now, 8 << 10);
    proc_usage_parse_status("Name:\tkthread\n", &usage);
    assert_int_equal(usage.memory_peak, 0);
}

static void test_this_process_has_used_something_and_no_process_nothing(void **state)
{
    struct leaf_usage usage;
    (void)state;
    proc_usage_read(getpid(), &usage);
    assert_true(usage.from_proc);
    assert_in_range(usage.memory_now, 1 << 10, usage.memory_peak);
    proc_usage_read(0x7ffffff0, &usage);
    assert_false(usage.from_proc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_are_those_of_the_process_and_its_children),
        cmocka_unit_test(test_what_is_no_stat_says_nothing),
        cmocka_unit_test(test_memory_is_found_by_whole_labels),
        cmocka_unit_test(test_this_process_has_used_something_and_no_process_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
