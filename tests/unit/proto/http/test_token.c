/* Character classes by rule, and lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/http/token.h"

static void test_classes_follow_rfc9110(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool tchar = alnum || (c != 0 && c < 128 && strchr("!#$%&'*+-.^_`|~", (int)c));
        bool value = c == '\t' || (c >= 0x20 && c != 0x7f);

        assert_int_equal(token_is_char((unsigned char)c), tchar);
        assert_int_equal(token_is_value((unsigned char)c), value);
    }
}

static void test_lists_skip_empty_items_and_blanks(void **state)
{
    (void)state;
    const char *list = " ,a ,\t b c,,d\t";
    struct slice item;

    assert_true(token_next(&list, &item) && item.len == 1 && item.ptr[0] == 'a');
    assert_true(token_next(&list, &item) && item.len == 3 && memcmp(item.ptr, "b c", 3) == 0);
    assert_true(token_next(&list, &item) && item.len == 1 && item.ptr[0] == 'd');
    assert_false(token_next(&list, &item));
    assert_true(token_list_has("x, Keep-Alive", "keep-alive"));
    assert_false(token_list_has("keep-alives, xkeep-alive", "keep-alive"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes_follow_rfc9110),
        cmocka_unit_test(test_lists_skip_empty_items_and_blanks),
    };
    return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
