/* Errors as values: texts, wrapping, names, and the rule that NULL is fine. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/err.h"

static void test_set_fills_and_returns(void **state)
{
    (void)state;
    struct err err = {0};

    assert_int_equal(err_set(&err, 7, ENOENT, "open '%s'", "/x"), -ENOENT);
    assert_int_equal(err.code, 7);
    assert_int_equal(err.errnum, ENOENT);
    assert_string_equal(err.text, "open '/x'");
    assert_int_equal(err_sys(&err, 0, EACCES, "open '%s'", "/x"), -EACCES);
    assert_string_equal(err.text, "open '/x': Permission denied");
    assert_int_equal(err_sys(&err, 0, 9999, "odd"), -9999);
    assert_string_equal(err.text, "odd: unknown error");
}

static void test_null_is_legal(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, 0, EIO, "x"), -EIO);
    assert_int_equal(err_sys(NULL, 0, EPERM, "x"), -EPERM);
    assert_int_equal(err_wrap(NULL, "x"), -EIO);
}

static void test_wrap_puts_the_layer_in_front(void **state)
{
    (void)state;
    struct err err = {0};

    (void)err_sys(&err, 3, ENOENT, "open '/x'");
    assert_int_equal(err_wrap(&err, "read %s", "settings"), -ENOENT);
    assert_string_equal(err.text, "read settings: open '/x': No such file or directory");
    assert_int_equal(err.code, 3);
    struct err unset = {0};
    assert_int_equal(err_wrap(&unset, "x"), -EIO);
}

static void test_text_may_be_its_own_argument(void **state)
{
    (void)state;
    struct err err = {0};

    (void)err_set(&err, 0, EIO, "inner");
    (void)err_set(&err, 0, EINVAL, "outer: %s", err.text);
    assert_string_equal(err.text, "outer: inner");
}

static void test_long_texts_are_cut_and_terminated(void **state)
{
    (void)state;
    struct err err;
    char text[2 * ERR_TEXT_MAX];

    memset(&err, 'x', sizeof(err));
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)err_sys(&err, 0, ENOENT, "%s", text);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    (void)err_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(err_name(ENOENT), "ENOENT");
    assert_string_equal(err_name(EWOULDBLOCK), "EAGAIN");
    assert_string_equal(err_name(99999), "E?");
    assert_string_equal(err_name(-1), "E?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_fills_and_returns),
        cmocka_unit_test(test_null_is_legal),
        cmocka_unit_test(test_wrap_puts_the_layer_in_front),
        cmocka_unit_test(test_text_may_be_its_own_argument),
        cmocka_unit_test(test_long_texts_are_cut_and_terminated),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
