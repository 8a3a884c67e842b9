#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/json/json_load.h"
#include "proto/json/json_scan.h"

static json_t *load(const char *s)
{
    /* Without a NUL behind it, so that reading on is seen. */
    size_t n = strlen(s);
    char *copy = malloc(n + 1);
    memcpy(copy, s, n);
    char *exact = realloc(copy, n ? n : 1);
    json_t *json = json_load_tolerant((struct slice){exact, n});
    free(exact);
    return json;
}

static void trees_are_the_parsers(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        "\"\"",
        "0",
        "-1",
        "-0",
        "1.5e3",
        "9223372036854775807",
        "-9223372036854775808",
        " [ 1 , [ ] , { } , \"a\" ] ",
        "{\"name\":\"stdout\",\"text\":\"0123456789abcdef\\n\\\"\\\\\\/\\b\\f\\r\\t\"}",
        "{\"a\":{\"b\":[true,false,null]},\"a\":2}",
        "\"\\u00e4\\u20ac\\ud83d\\ude00\\u0000\"",
        "\"\xC3\xA4\xF0\x9F\x98\x80 plain and long enough for words\"",
        "\"\x7f\"",
        "\t\r\n[1]",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_t *ours = load(texts[i]);
        json_t *parsed = json_loads(texts[i], JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        if (!ours || !parsed || !json_equal(ours, parsed))
            fail_msg("not the same: %s", texts[i]);
        json_decref(ours);
        json_decref(parsed);
    }
}

static void what_the_parser_loses_is_kept(void **state)
{
    (void)state;
    json_t *json = load("[\"a\\ud800b\", \"\\udc00\\ud800\", 12345678901234567890123, "
                        "-1e999, {\"a\\u0000b\": 1}, [0]]");
    assert_string_equal(json_string_value(json_array_get(json, 0)), "a\xEF\xBF\xBD"
                                                                    "b");
    assert_string_equal(json_string_value(json_array_get(json, 1)), "\xEF\xBF\xBD\xEF\xBF\xBD");
    assert_true(json_is_real(json_array_get(json, 2)));
    assert_true(json_real_value(json_array_get(json, 2)) > 1e22);
    assert_string_equal(json_string_value(json_array_get(json, 3)), "-1e999");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(json, 4), "a")), 1);
    assert_int_equal(json_array_size(json), 6);
    json_decref(json);
}

static void a_number_of_many_digits_is_kept(void **state)
{
    (void)state;
    char digits[1000 + 1], text[sizeof(digits) + sizeof("[,1]")];
    memset(digits, '7', sizeof(digits) - 1);
    digits[sizeof(digits) - 1] = '\0';
    for (size_t n = 300; n < sizeof(digits); n += 100) {
        snprintf(text, sizeof(text), "[%.*s,1]", (int)n, digits);
        json_t *json = load(text);
        const json_t *first = json_array_get(json, 0);
        assert_int_equal(json_array_size(json), 2);
        if (n > 300) /* beyond a double */
            assert_memory_equal(json_string_value(first), digits, json_string_length(first));
        assert_int_equal(n > 300 ? json_string_length(first) : 0, n > 300 ? n : 0);
        json_decref(json);
    }
}

static void the_rest_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "{", "[1,]", "\"", "\"\\", "\"\\u12", "{\"a\"}", "01", "[1] 2", "\"\xff\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (load(texts[i]))
            fail_msg("accepted: %s", texts[i]);
}

static void a_strict_reader_says_where(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t at;
        const char *what;
    } rows[] = {
        {"{\"a\": 1, \"a\": 2}", 9, "twice"},
        {"[\"\\u0000\"]", 2, "zero byte"},
        {"{\"a\\u0000\": 1}", 2, "zero byte"},
        {"[\"\\ud800\"]", 2, "surrogate"},
        {"[\"\\ude00\"]", 2, "surrogate"},
        {"[12345678901234567890]", 1, "too big"},
        {"[1e999]", 1, "too big"},
        {"[1, x]", 4, "not expected"},
        {"[1, ", 4, "too early"},
        {"[1] 2", 4, "not expected"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice text = {rows[i].text, strlen(rows[i].text)};
        struct json_flaw flaw = {NULL, NULL};
        assert_null(json_load(text, &flaw));
        assert_non_null(flaw.what);
        if (strstr(flaw.what, rows[i].what) == NULL || flaw.at != text.ptr + rows[i].at)
            fail_msg("%s: %s at %zu", rows[i].text, flaw.what, (size_t)(flaw.at - text.ptr));
    }
    struct json_flaw flaw;
    json_t *json = json_load((struct slice){"[\"\\ud83d\\ude00\\ufffd\"]", 22}, &flaw);
    assert_non_null(json);
    json_decref(json);
}

static void nesting_has_a_bound(void **state)
{
    (void)state;
    static const size_t depths[] = {JSON_SCAN_DEPTH_MAX, JSON_SCAN_DEPTH_MAX + 1,
                                    JSON_SCAN_DEEP_MAX, JSON_SCAN_DEEP_MAX + 1};
    static char text[2 * (JSON_SCAN_DEEP_MAX + 1)];
    for (size_t i = 0; i < ARRAY_LEN(depths); i++) {
        memset(text, '[', depths[i]);
        memset(text + depths[i], ']', depths[i]);
        struct slice whole = {text, 2 * depths[i]};
        struct json_flaw flaw;
        json_t *strict = json_load(whole, &flaw), *json = json_load_tolerant(whole);
        assert_int_equal(strict != NULL, depths[i] == JSON_SCAN_DEPTH_MAX);
        assert_int_equal(json != NULL, depths[i] <= JSON_SCAN_DEEP_MAX);
        json_decref(strict);
        json_decref(json);
    }
}

static void only_what_is_too_deep_is_left_out(void **state)
{
    (void)state;
    char text[2 * JSON_SCAN_DEPTH_MAX + 64];
    memset(text, '[', JSON_SCAN_DEPTH_MAX);
    size_t n = JSON_SCAN_DEPTH_MAX +
               (size_t)sprintf(text + JSON_SCAN_DEPTH_MAX, "{\"]\":[\"}\\\"\"]},1,\"kept\"");
    memset(text + n, ']', JSON_SCAN_DEPTH_MAX);
    json_t *json = json_load_tolerant((struct slice){text, n + JSON_SCAN_DEPTH_MAX});
    const json_t *inner = json;
    for (int i = 1; i < JSON_SCAN_DEPTH_MAX; i++)
        inner = json_array_get(inner, 0);
    assert_int_equal(json_array_size(inner), 3);
    assert_string_equal(json_string_value(json_array_get(inner, 0)), JSON_LOAD_LEFT_OUT);
    assert_string_equal(json_string_value(json_array_get(inner, 2)), "kept");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_are_the_parsers),
        cmocka_unit_test(what_the_parser_loses_is_kept),
        cmocka_unit_test(the_rest_is_refused),
        cmocka_unit_test(a_strict_reader_says_where),
        cmocka_unit_test(nesting_has_a_bound),
        cmocka_unit_test(a_number_of_many_digits_is_kept),
        cmocka_unit_test(only_what_is_too_deep_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
