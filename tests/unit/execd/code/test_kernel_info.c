/* What a kernel tells of itself: kept as far as it has the right shape and fits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "execd/code/kernel_info.h"
#include "proto/base/defs.h"

static void read_text(const char *text, struct kernel_info *ret_info)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    kernel_info_read(json, ret_info);
    json_decref(json);
}

static void test_a_whole_reply(void **state)
{
    struct kernel_info info;
    (void)state;
    read_text("{\"protocol_version\":\"5.3\",\"implementation\":\"ipython\",\"implementation_"
              "version\":\"8.1\","
              "\"language_info\":{\"name\":\"python\",\"version\":\"3.11\"}}",
              &info);
    assert_string_equal(info.protocol_version, "5.3");
    assert_string_equal(info.implementation, "ipython");
    assert_string_equal(info.implementation_version, "8.1");
    assert_string_equal(info.language, "python");
    assert_string_equal(info.language_version, "3.11");
}

static void test_other_shapes_leave_it_empty(void **state)
{
    static const char *const odd[] = {
        "null",
        "7",
        "[]",
        "{}",
        "{\"language_info\":7,\"protocol_version\":{}}",
        "{\"language_info\":{\"name\":[],\"version\":null},\"implementation\":true}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        struct kernel_info info, empty = {0};
        memset(&info, 'x', sizeof(info));
        read_text(odd[i], &info);
        assert_string_equal(info.protocol_version, empty.protocol_version);
        assert_string_equal(info.implementation, empty.implementation);
        assert_string_equal(info.implementation_version, empty.implementation_version);
        assert_string_equal(info.language, empty.language);
        assert_string_equal(info.language_version, empty.language_version);
    }
    struct kernel_info none;
    kernel_info_read(NULL, &none);
    assert_string_equal(none.language, "");
}

static void test_long_texts_are_cut_between_characters(void **state)
{
    struct kernel_info info;
    (void)state;
    read_text("{\"protocol_version\":\"12345678901234\xc3\xa9\xc3\xa9\",\"implementation\":\"\"}",
              &info);
    assert_string_equal(info.protocol_version, "12345678901234");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_reply),
        cmocka_unit_test(test_other_shapes_leave_it_empty),
        cmocka_unit_test(test_long_texts_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
