#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "execd/code/memory.h"

static void test_nine_tenths_of_a_limit_are_too_much(void **state)
{
    (void)state;
    assert_false(memory_exceeds(500 << 20, 1000 << 20));
    assert_false(memory_exceeds(890 << 20, 1000 << 20));
    assert_true(memory_exceeds(950 << 20, 1000 << 20));
    assert_false(memory_exceeds(950 << 20, 0));
    assert_false(memory_exceeds(UINT64_MAX, UINT64_MAX));
    assert_false(memory_exceeds(UINT64_C(1) << 40, UINT64_C(0x7ffffffffffff000)));
}

static void test_what_the_machine_has_left(void **state)
{
    (void)state;
    assert_false(
        memory_parse_meminfo("MemTotal:  1000000 kB\nMemFree: 1 kB\nMemAvailable: 60000 kB\n"));
    assert_true(
        memory_parse_meminfo("MemTotal:  1000000 kB\nMemFree: 1 kB\nMemAvailable: 40000 kB\n"));
    assert_false(memory_parse_meminfo("nothing of the kind"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nine_tenths_of_a_limit_are_too_much),
        cmocka_unit_test(test_what_the_machine_has_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
