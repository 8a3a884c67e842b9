/* Text: prefixes, case, numbers, sizes, durations, UTF-8. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/str.h"

#define UNTOUCHED 4711u

static void test_prefix_suffix_case(void **state)
{
    (void)state;
    assert_true(str_starts("abc", "ab") && str_starts("abc", "") && !str_starts("a", "ab"));
    assert_true(str_ends("abc", "bc") && str_ends("abc", "") && !str_ends("c", "bc"));
    assert_true(str_eq_nocase("Content-LENGTH", "content-length"));
    assert_false(str_eq_nocase("abc", "abcd") || str_eq_nocase("abcd", "abc") ||
                 str_eq_nocase("a", "b"));
    assert_false(str_eq_nocase("@", "`")); /* differ in the case bit only, and are no letters */
}

static void test_hex_digits(void **state)
{
    (void)state;
    static const char digits[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
    int n_digits = 0;

    for (int i = 0; i < 16; i++) {
        assert_int_equal(str_hex_digit(digits[i]), i);
        assert_int_equal(str_hex_digit(upper[i]), i);
    }
    for (int c = CHAR_MIN; c <= CHAR_MAX; c++)
        n_digits += str_hex_digit((char)c) >= 0;
    assert_int_equal(n_digits, 22);
}

static void test_no_character_is_cut(void **state)
{
    static const struct {
        const char *text;
        size_t max, cut;
    } rows[] = {
        {"abcdef", 4, 4},
        {"abc", 4, 3},
        {"abcd", 4, 4},
        {"abc\xc3\xa4", 4, 3},
        {"ab\xc3\xa4x", 4, 4},
        {"a\xe2\x82\xacx", 4, 4},
        {"ab\xe2\x82\xac", 4, 2},
        {"a\xf0\x9f\x98\x80", 4, 1},
        {"\xf0\x9f\x98\x80x", 4, 4},
        {"\x80\x80\x80\x80\x80\x80", 4, 1}, /* nothing is lost, and it goes on */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(utf8_cut(rows[i].text, strlen(rows[i].text), rows[i].max), rows[i].cut);
}

struct number_row {
    const char *text;
    int result;
    uint64_t value;
};

typedef int (*parse_u64_fn)(const char *text, uint64_t *ret_value);

/* A refused text leaves the out-parameter alone. */
static void check_rows(parse_u64_fn parse, const struct number_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = UNTOUCHED;
        int r = parse(rows[i].text, &value);
        if (r != rows[i].result || value != (r == 0 ? rows[i].value : UNTOUCHED))
            fail_msg("'%s': %d, %llu", rows[i].text, r, (unsigned long long)value);
    }
}

static void test_u64(void **state)
{
    (void)state;
    static const struct number_row rows[] = {
        {"0", 0, 0},
        {"007", 0, 7},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"99999999999999999999999", -ERANGE, 0},
        {"99999999999999999999999x", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1\n", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
        {"\xef\xbc\x91", -EINVAL, 0}, /* full-width 1 */
    };
    check_rows(str_to_u64, rows, ARRAY_LEN(rows));
}

static void test_i64_and_u32_edges(void **state)
{
    (void)state;
    int64_t i = 0;
    uint32_t u = 0;

    assert_int_equal(str_to_i64("-9223372036854775808", &i), 0);
    assert_true(i == INT64_MIN);
    assert_int_equal(str_to_i64("9223372036854775807", &i), 0);
    assert_true(i == INT64_MAX);
    assert_int_equal(str_to_i64("-0", &i), 0);
    assert_true(i == 0);
    assert_int_equal(str_to_i64("9223372036854775808", &i), -ERANGE);
    assert_int_equal(str_to_i64("-9223372036854775809", &i), -ERANGE);
    assert_int_equal(str_to_i64("--1", &i), -EINVAL);
    assert_int_equal(str_to_i64("-", &i), -EINVAL);
    assert_int_equal(str_to_u32("4294967295", &u), 0);
    assert_true(u == UINT32_MAX);
    assert_int_equal(str_to_u32("4294967296", &u), -ERANGE);
}

static void test_bool_words(void **state)
{
    (void)state;
    static const char *const yes[] = {"1", "true", "TRUE", "yes", "On"};
    static const char *const no[] = {"0", "false", "False", "NO", "off"};
    static const char *const neither[] = {"", "2", "t", "y", "true ", "enabled"};
    bool value = false;

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        value = false;
        assert_int_equal(str_to_bool(yes[i], &value), 0);
        assert_true(value);
        assert_int_equal(str_to_bool(no[i], &value), 0);
        assert_false(value);
    }
    for (size_t i = 0; i < ARRAY_LEN(neither); i++)
        assert_int_equal(str_to_bool(neither[i], &value), -EINVAL);
}

static int parse_duration(const char *text, uint64_t *ret_value)
{
    int64_t ms;
    int r = str_to_duration_ms(text, &ms);

    if (r == 0)
        *ret_value = (uint64_t)ms;
    return r;
}

static void test_durations(void **state)
{
    (void)state;
    static const struct number_row rows[] = {
        {"0", 0, 0},
        {"30", 0, 30000},
        {"1.5", 0, 1500},
        {"200ms", 0, 200},
        {"1s", 0, 1000},
        {"1m30s", 0, 90000},
        {"1h", 0, 3600000},
        {"1.5h", 0, 5400000},
        {"1h1m1s1ms", 0, 3661001},
        {"2000us", 0, 2},
        {"500us", -EINVAL, 0}, /* no whole millisecond */
        {"0.0001s", -EINVAL, 0},
        {"1s30", -EINVAL, 0}, /* a bare number only alone */
        {"", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"-1s", -EINVAL, 0},
        {"1d", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1.s", -EINVAL, 0},
        {".5s", -EINVAL, 0},
        {"nan", -EINVAL, 0},
        {"99999999999999999999h", -ERANGE, 0},
        {"9223372036854775807h", -ERANGE, 0},
        {"99999999999999999999x", -EINVAL, 0},
    };
    check_rows(parse_duration, rows, ARRAY_LEN(rows));
}

static void test_J06_bytes_are_exact_or_refused(void **state)
{
    (void)state;
    static const struct number_row rows[] = {
        {"512", 0, 512},
        {"0", 0, 0},
        {"1048576", 0, 1048576},
        {"512Mi", 0, UINT64_C(512) << 20},
        {"512mi", 0, UINT64_C(512) << 20},
        {"1.5Gi", 0, UINT64_C(3) << 29},
        {"1.50000000000000000000000Gi", 0, UINT64_C(3) << 29},
        {"1G", 0, 1000000000},
        {"1GB", 0, 1000000000},
        {"1GiB", 0, UINT64_C(1) << 30},
        {"200k", 0, 200000},
        {"200K", 0, 200000},
        {"1Ti", 0, UINT64_C(1) << 40},
        {"1Pi", 0, UINT64_C(1) << 50},
        {"5B", 0, 5},
        {"0.001k", 0, 1},
        {"1.0000001Ki", -EINVAL, 0},
        {"0.5", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"1e9", -EINVAL, 0},
        {" 1Gi", -EINVAL, 0},
        {"1Gi ", -EINVAL, 0},
        {"1 Gi", -EINVAL, 0},
        {"\xef\xbc\x91Gi", -EINVAL, 0},
        {"inf", -EINVAL, 0},
        {"nan", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"Gi", -EINVAL, 0},
        {"1Xi", -EINVAL, 0},
        {"1Gib2", -EINVAL, 0},
        {"1i", -EINVAL, 0},
        {"1.Gi", -EINVAL, 0},
        {"99999999Ti", -ERANGE, 0},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"16777216Ti", -ERANGE, 0}, /* 2^64 */
    };
    check_rows(str_to_bytes, rows, ARRAY_LEN(rows));
}

static void test_J06_millicpu(void **state)
{
    (void)state;
    static const struct number_row rows[] = {
        {"500m", 0, 500},
        {"2", 0, 2000},
        {"0.5", 0, 500},
        {"0.001", 0, 1},
        {"1m", 0, 1},
        {"0", -EINVAL, 0},
        {"0m", -EINVAL, 0},
        {"0.0000001", -EINVAL, 0},
        {"0.5m", -EINVAL, 0},
        {"inf", -EINVAL, 0},
        {"nan", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"1e400", -EINVAL, 0},
        {"500m500m", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"18446744073709551615", -ERANGE, 0},
    };
    check_rows(str_to_millicpu, rows, ARRAY_LEN(rows));
}

static void test_utf8_sequences(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
    } rows[] = {
        {"a", 1},
        {"\xc3\xa4", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4}, /* U+10FFFF */
        {"\xef\xbf\xbf", 3},
        {"\x80", 0},
        {"\xc0\xaf", 0}, /* overlong */
        {"\xc1\xbf", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xed\xa0\x80", 0},     /* surrogate */
        {"\xf4\x90\x80\x80", 0}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", 0},
        {"\xff", 0},
        {"\xe2\x41\x41", 0},
        {"\xe2\x82\x41", 0},
        {"", -1},
        {"\xc3", -1},
        {"\xe2", -2},
        {"\xe2\x82", -1},
        {"\xf0\x9f\x98", -1},
        {"\xf0", -3},
        {"\xe0\x80", 0}, /* known to be wrong before it is complete */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (utf8_sequence(rows[i].text, strlen(rows[i].text)) != rows[i].result)
            fail_msg("row %zu: %d", i, utf8_sequence(rows[i].text, strlen(rows[i].text)));
}

static void test_utf8_valid_at_every_offset_of_a_word(void **state)
{
    (void)state;
    char text[32];

    for (size_t at = 0; at < 20; at++) {
        memset(text, 'x', sizeof(text));
        memcpy(text + at, "\xe2\x82\xac", 3);
        assert_true(utf8_is_valid(text, sizeof(text)));
        text[at + 1] = 'x';
        assert_false(utf8_is_valid(text, sizeof(text)));
    }
    assert_true(utf8_is_valid("", 0));
    assert_false(utf8_is_valid("ab\xe2\x82", 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix_suffix_case),
        cmocka_unit_test(test_hex_digits),
        cmocka_unit_test(test_no_character_is_cut),
        cmocka_unit_test(test_u64),
        cmocka_unit_test(test_i64_and_u32_edges),
        cmocka_unit_test(test_bool_words),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_J06_bytes_are_exact_or_refused),
        cmocka_unit_test(test_J06_millicpu),
        cmocka_unit_test(test_utf8_sequences),
        cmocka_unit_test(test_utf8_valid_at_every_offset_of_a_word),
    };
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
