/* The version text: present, printable, one word. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/version.h"

static void test_version_is_one_printable_word(void **state)
{
    (void)state;
    const char *text = version_text();

    assert_true(strlen(text) > 0);
    for (const char *p = text; *p; p++)
        assert_true(isgraph((unsigned char)*p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_is_one_printable_word),
    };
    return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
