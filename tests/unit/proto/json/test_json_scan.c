#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "proto/json/json_scan.h"

static struct slice text(const char *s)
{
    return (struct slice){s, strlen(s)};
}

static void valid_texts_are_accepted(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0",
        "-0",
        "12",
        "1.5",
        "1e9",
        "1E+9",
        "-0.0e-1",
        "123456789012345678901234567890",
        "\"\"",
        "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\"",
        "\"\\ud800\"",
        "\"\xC3\xA4\xF0\x9F\x98\x80\"",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        " [ 1 , [ ] , { } ] ",
        "{\"a\":{\"b\":[1,2,{\"c\":null}]}}",
        "\t{\r\n\"a\" : 1 , \"a\" : 2 }",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (json_scan(text(good[i]), NULL) != 0)
            fail_msg("refused: %s", good[i]);
}

static void broken_texts_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "NaN",
        "Infinity",
        "-Infinity",
        "0x1",
        "'a'",
        "\"",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123",
        "\"\n\"",
        "\"\x01\"",
        "\"\xff\"",
        "\"\xC3\"",
        "tru",
        "nul",
        "truex",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{",
        "}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\",1}",
        "{} {}",
        "{}x",
        "\xEF\xBB\xBF{}",
        "{\"a\":[1}]",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (json_scan(text(bad[i]), NULL) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(json_scan((struct slice){"\"a\0b\"", 5}, NULL), -EINVAL);
    assert_int_equal(json_scan((struct slice){"{}\0", 3}, NULL), -EINVAL);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char deep[2 * JSON_SCAN_DEPTH_MAX + 4];
    memset(deep, '[', JSON_SCAN_DEPTH_MAX);
    memset(deep + JSON_SCAN_DEPTH_MAX, ']', JSON_SCAN_DEPTH_MAX);
    assert_int_equal(json_scan((struct slice){deep, 2 * JSON_SCAN_DEPTH_MAX}, NULL), 0);
    memset(deep, '[', JSON_SCAN_DEPTH_MAX + 1);
    memset(deep + JSON_SCAN_DEPTH_MAX + 1, ']', JSON_SCAN_DEPTH_MAX + 1);
    assert_int_equal(json_scan((struct slice){deep, 2 * JSON_SCAN_DEPTH_MAX + 2}, NULL), -EINVAL);
    memset(deep, '[', sizeof(deep));
    assert_int_equal(json_scan((struct slice){deep, sizeof(deep)}, NULL), -EINVAL);
}

static void assert_slice(struct slice s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.ptr, expected, s.len);
}

static void members_are_found_as_written(void **state)
{
    (void)state;
    struct slice object;
    struct json_member m;
    size_t at = 0;
    assert_int_equal(
        json_scan(text("  {\"a\" : 1.50 , \"b\":{\"a\":2},\"c\":[\"x}\"], \"a\":\"\\u00e4\"} "),
                  &object),
        0);
    static const struct {
        const char *key, *value;
    } rows[] = {{"a", "1.50"}, {"b", "{\"a\":2}"}, {"c", "[\"x}\"]"}, {"a", "\"\\u00e4\""}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(json_next_member(object, &at, &m));
        assert_slice(m.key, rows[i].key);
        assert_slice(m.value, rows[i].value);
    }
    assert_false(json_next_member(object, &at, &m));
    assert_slice(json_find_member(object, "a"), "\"\\u00e4\"");
    assert_slice(json_find_member(object, "c"), "[\"x}\"]");
    assert_int_equal(json_find_member(object, "d").len, 0);
    assert_int_equal(json_find_member(text("{}"), "d").len, 0);
    assert_int_equal(json_find_member(text("[1]"), "d").len, 0);
    assert_true(json_text_is(text("\"ok\""), "ok"));
    assert_true(json_text_is(text("\"\""), ""));
    assert_false(json_text_is(text("\"okay\""), "ok"));
    assert_false(json_text_is(text("[ok]"), "ok"));
    assert_false(json_text_is(text(""), ""));
}

static void halves_of_characters_are_found(void **state)
{
    static const char *const whole[] = {
        "\"\"",
        "\"plain \\n \\\\ud800\"",
        "\"\\u00e9\\ud83d\\ude00\\uDBFF\\uDFFF\"",
        "\"\\ud7ff\\ue000\"",
        "\"\\\\\\\\ud800\"",
    };
    static const char *const halves[] = {
        "\"\\ud800\"",    "\"\\uDC00\"",       "\"\\ud83d\\ud83d\\ude00\"", "\"\\ude00\\ud83d\"",
        "\"\\ud83d\\n\"", "\"\\ud83d-ude00\"", "\"\\ud83d\\ude00\\udbff\"", "\"\\\\\\ud800\"",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++)
        assert_false(json_has_lone_surrogate((struct slice){whole[i], strlen(whole[i])}));
    for (size_t i = 0; i < ARRAY_LEN(halves); i++)
        assert_true(json_has_lone_surrogate((struct slice){halves[i], strlen(halves[i])}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_texts_are_accepted),
        cmocka_unit_test(broken_texts_are_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(members_are_found_as_written),
        cmocka_unit_test(halves_of_characters_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
