/* Trees made step by step: whole or NULL. */
#include "proto/json/json_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void whole(void **state)
{
    json_t *list = json_array(), *object = json_object();
    (void)state;
    json_put(&object, "a", json_integer(1));
    json_put(&object, "b", json_text("x"));
    json_push(&list, object);
    json_push(&list, json_true());
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_object_size(json_array_get(list, 0)), 2);
    json_decref(list);
}

static void nothing_after_a_loss(void **state)
{
    json_t *list = json_array(), *object = json_object();
    (void)state;
    json_put(&object, "a", json_integer(1));
    json_put(&object, "b", NULL);
    assert_null(object);
    json_put(&object, "c", json_integer(3));
    assert_null(object);
    json_push(&list, json_true());
    json_push(&list, object);
    assert_null(list);
    json_push(&list, json_true());
    assert_null(list);
}

static void check_text(const char *given, const char *expected)
{
    json_t *json = json_text(given);

    assert_non_null(json);
    assert_string_equal(json_string_value(json), expected);
    json_decref(json);
}

static void texts(void **state)
{
    (void)state;
    check_text("", "");
    check_text("/tmp/\xc3\xa4", "/tmp/\xc3\xa4");
    check_text("a\xff"
               "b",
               "a\xef\xbf\xbd"
               "b");
    check_text("\xff\xff\xff", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    check_text("cut \xc3", "cut \xef\xbf\xbd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(nothing_after_a_loss),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
