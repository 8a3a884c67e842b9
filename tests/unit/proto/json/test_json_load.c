#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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
    json_t *json = load("[\"a\\ud800b\", \"\\udc00\\ud800\", 12345678901234567890123]");
    assert_string_equal(json_string_value(json_array_get(json, 0)), "a\xEF\xBF\xBD"
                                                                    "b");
    assert_string_equal(json_string_value(json_array_get(json, 1)), "\xEF\xBF\xBD\xEF\xBF\xBD");
    assert_true(json_is_real(json_array_get(json, 2)));
    assert_true(json_real_value(json_array_get(json, 2)) > 1e22);
    json_decref(json);
}

static void the_rest_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",      "{",  "[1,]",  "\"",       "\"\\", "\"\\u12", "{\"a\"}", "{\"a\\u0000b\":1}",
        "1e999", "01", "[1] 2", "\"\xff\"",
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
    char text[2 * (JSON_SCAN_DEPTH_MAX + 1)];
    for (int depth = JSON_SCAN_DEPTH_MAX; depth <= JSON_SCAN_DEPTH_MAX + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        json_t *json = json_load_tolerant((struct slice){text, 2 * (size_t)depth});
        assert_int_equal(json != NULL, depth == JSON_SCAN_DEPTH_MAX);
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_are_the_parsers), cmocka_unit_test(what_the_parser_loses_is_kept),
        cmocka_unit_test(the_rest_is_refused),   cmocka_unit_test(a_strict_reader_says_where),
        cmocka_unit_test(nesting_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
