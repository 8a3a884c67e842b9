/* Range: one answer per header, whatever the header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/http/range.h"

static void test_F05_table(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint64_t size;
        enum range_result result;
        uint64_t first, last;
    } rows[] = {
        {NULL, 10, RANGE_NONE, 0, 0},
        {"bytes=0-0", 10, RANGE_PARTIAL, 0, 0},
        {"bytes=-1", 10, RANGE_PARTIAL, 9, 9},
        {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-99", 10, RANGE_PARTIAL, 0, 9},
        {"bytes=5-", 10, RANGE_PARTIAL, 5, 9},
        {"bytes=9-3", 10, RANGE_MALFORMED, 0, 0},
        {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=3-99", 10, RANGE_PARTIAL, 3, 9},
        {"bytes=3-18446744073709551616", 10, RANGE_PARTIAL, 3, 9},
        {"bytes=99999999999999999999-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-9,20-29", 30, RANGE_PARTIAL, 0, 9},
        {"bytes=50-60, 2-3", 10, RANGE_PARTIAL, 2, 3},
        {"bytes=50-60,70-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=2-3,x", 10, RANGE_MALFORMED, 0, 0},
        {"lines=0-1", 10, RANGE_MALFORMED, 0, 0},
        {"bytes=x", 10, RANGE_MALFORMED, 0, 0},
        {"bytes", 10, RANGE_MALFORMED, 0, 0},
        {"bytes=", 10, RANGE_MALFORMED, 0, 0},
        {"bytes=-", 10, RANGE_MALFORMED, 0, 0},
        {"bytes=1-2-3", 10, RANGE_MALFORMED, 0, 0},
        {"bytes=+1-2", 10, RANGE_MALFORMED, 0, 0},
        {"Bytes = 1-2", 10, RANGE_PARTIAL, 1, 2},
        {"bytes=0-", 0, RANGE_NONE, 0, 0},
        {"bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-", 10, RANGE_PARTIAL, 0, 9},
        {"bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-,0-", 10, RANGE_NONE, 0, 0},
        {"bytes=0-", UINT64_MAX, RANGE_PARTIAL, 0, UINT64_MAX - 1},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t first = 0, last = 0;
        enum range_result r = range_parse(rows[i].header, rows[i].size, &first, &last);

        if (r != rows[i].result || first != rows[i].first || last != rows[i].last)
            fail_msg("row %zu: %s", i, rows[i].header ? rows[i].header : "(none)");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_F05_table)};
    return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
