#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "execd/code/early.h"

static void test_only_early_variables_count(void **state)
{
    const char *const a[] = {"PYTHONPATH=/x", "A=1", "LANG=C", NULL};
    const char *const b[] = {"LANG=C", "B=2", "PYTHONPATH=/x", NULL};
    const char *const other[] = {"LANG=C", "PYTHONPATH=/y", NULL};
    const char *const fewer[] = {"LANG=C", NULL};
    (void)state;
    assert_true(early_same(a, b, EARLY_INTERPRETER));
    assert_false(early_same(a, other, EARLY_INTERPRETER));
    assert_false(early_same(a, fewer, EARLY_INTERPRETER));
    assert_false(early_same(fewer, a, EARLY_INTERPRETER));
}

static void test_a_kernel_reads_more_than_an_interpreter(void **state)
{
    const char *const a[] = {"HOME=/root", "PATH=/bin", NULL};
    const char *const b[] = {"HOME=/tmp", "PATH=/usr/bin", NULL};
    (void)state;
    assert_true(early_same(a, b, EARLY_INTERPRETER));
    assert_false(early_same(a, b, EARLY_KERNEL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_early_variables_count),
        cmocka_unit_test(test_a_kernel_reads_more_than_an_interpreter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
