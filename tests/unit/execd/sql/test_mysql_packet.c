#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "execd/sql/mysql_packet.h"
#include "proto/base/codec.h"

#define GREETING_HEAD                                                                              \
    "\x0a"                                                                                         \
    "8.0\0"                                                                                        \
    "\7\0\0\0"                                                                                     \
    "abcdefgh"                                                                                     \
    "\0"                                                                                           \
    "\xff\xf7\x2d\2\0\xff\xff\x15"                                                                 \
    "\0\0\0\0\0\0\0\0\0\0"

static void a_greeting_and_every_shorter_one(void **state)
{
    (void)state;
    static const char text[] = GREETING_HEAD "ijklmnopqrst\0caching_sha2_password\0";
    struct slice packet = SLICE_LIT(text);
    struct mysql_greeting g;
    assert_int_equal(mysql_read_greeting(packet, &g), 0);
    assert_int_equal(g.thread_id, 7);
    assert_memory_equal(g.scramble, "abcdefghijklmnopqrst", MYSQL_SCRAMBLE_LEN);
    assert_string_equal(g.plugin, "caching_sha2_password");
    size_t least = sizeof(GREETING_HEAD) - 1 + 12;
    for (size_t n = 0; n < packet.len; n++) {
        struct slice shorter = {text, n};
        assert_int_equal(mysql_read_greeting(shorter, &g) == 0, n >= least);
    }
}

static void a_failure_with_and_without_state(void **state)
{
    (void)state;
    struct mysql_failure f;
    assert_int_equal(mysql_read_failure(SLICE_LIT("\xff\x7a\x04#42S02Table"), &f), 0);
    assert_int_equal(f.code, 1146);
    assert_string_equal(f.state, "42S02");
    assert_string_equal(f.text, "Table");
    assert_int_equal(mysql_read_failure(SLICE_LIT("\xff\x10\x04Too many"), &f), 0);
    assert_string_equal(f.state, "HY000");
    assert_string_equal(f.text, "Too many");
    assert_int_equal(mysql_read_failure(SLICE_LIT("\xff\x10"), &f), -EPROTO);
}

static void numbers_with_their_own_length(void **state)
{
    (void)state;
    struct mysql_ok ok;
    uint64_t n;
    assert_int_equal(mysql_read_ok(SLICE_LIT("\0\xfc\1\2\0\x0a\0"), &ok), 0);
    assert_int_equal(ok.affected, 513);
    assert_int_equal(ok.status, 10);
    assert_int_equal(mysql_read_ok(SLICE_LIT("\0\xfc\1\2\0\x0a"), &ok), -EPROTO);
    assert_int_equal(mysql_read_count(SLICE_LIT("\xfd\1\0\1"), &n), 0);
    assert_int_equal(n, 65537);
    assert_int_equal(mysql_read_count(SLICE_LIT("\xfe\1\0\0\0\0\0\0\x80"), &n), 0);
    assert_true(n == (UINT64_C(1) << 63) + 1);
    assert_int_equal(mysql_read_count(SLICE_LIT("\xfb"), &n), -EPROTO);
    assert_int_equal(mysql_read_count(SLICE_LIT("\1x"), &n), -EPROTO);
    assert_int_equal(mysql_read_count(SLICE_LIT(""), &n), -EPROTO);
}

static void cells_of_a_row(void **state)
{
    (void)state;
    struct slice row = SLICE_LIT("\2ab\xfb\0"), cell;
    assert_int_equal(mysql_read_cell(&row, &cell), 0);
    assert_memory_equal(cell.ptr, "ab", 2);
    assert_int_equal(mysql_read_cell(&row, &cell), 0);
    assert_null(cell.ptr);
    assert_int_equal(mysql_read_cell(&row, &cell), 0);
    assert_non_null(cell.ptr);
    assert_int_equal(cell.len, 0);
    assert_int_equal(mysql_read_cell(&row, &cell), -EPROTO);
    row = SLICE_LIT("\xfe\xff\xff\xff\xff\xff\xff\xff\xff"
                    "a");
    assert_int_equal(mysql_read_cell(&row, &cell), -EPROTO);
}

/* Reference values computed with an independent implementation. */
static void answers_to_a_scramble(void **state)
{
    (void)state;
    static const uint8_t scramble[MYSQL_SCRAMBLE_LEN] = "abcdefghijklmnopqrst";
    uint8_t out[MYSQL_ANSWER_MAX];
    char hex[2 * MYSQL_ANSWER_MAX + 1];
    assert_int_equal(mysql_answer_native("secret", scramble, out), 20);
    codec_hex(out, 20, hex);
    assert_string_equal(hex, "8817c50fa779daef010ee7577825b0847df9842e");
    assert_int_equal(mysql_answer_sha2("secret", scramble, out), 32);
    codec_hex(out, 32, hex);
    assert_string_equal(hex, "c76e2898612a4cf042c77fa8c4702c4c64c0c2c557c53c4d75595aaa6abae809");
    assert_int_equal(mysql_answer_native("", scramble, out), 0);
    assert_int_equal(mysql_answer_sha2("", scramble, out), 0);
}

static void values_as_json(void **state)
{
    (void)state;
    static const struct {
        unsigned type, charset;
        const char *value, *json;
    } rows[] = {
        {3, 63, "-7", "-7"},
        {8, 63, "9223372036854775807", "9223372036854775807"},
        {8, 63, "18446744073709551615", "\"18446744073709551615\""},
        {3, 63, "007", "\"007\""},
        {13, 63, "0000", "\"0000\""},
        {5, 63, "1e-7", "1e-7"},
        {5, 63, "-0.25", "-0.25"},
        {5, 63, ".5", "\".5\""},
        {5, 63, "nan", "\"nan\""},
        {5, 63, "1e999", "\"1e999\""},
        {5, 63, "20000000000000000000", "\"20000000000000000000\""},
        {5, 63, "2", "2"},
        {246, 63, "1.10", "\"1.10\""},
        {10, 63, "2020-01-02", "\"2020-01-02\""},
        {252, 63, "a\xff", "\"0x61FF\""},
        {252, 45, "a\xff\"", "\"a\xef\xbf\xbd\\\"\""},
        {16, 63, "\5", "\"0x05\""},
        {253, 45, "", "\"\""},
    };
    struct strbuf out;
    strbuf_init(&out, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct mysql_column column = {.type = rows[i].type, .charset = rows[i].charset};
        strbuf_reset(&out);
        mysql_value_json(&out, &column, (struct slice){rows[i].value, strlen(rows[i].value)});
        assert_string_equal(out.data, rows[i].json);
    }
    strbuf_reset(&out);
    mysql_text_json(&out, SLICE_LIT("a\0b"));
    assert_string_equal(out.data, "\"a\xef\xbf\xbd"
                                  "b\"");
    strbuf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_greeting_and_every_shorter_one),
        cmocka_unit_test(a_failure_with_and_without_state),
        cmocka_unit_test(numbers_with_their_own_length),
        cmocka_unit_test(cells_of_a_row),
        cmocka_unit_test(answers_to_a_scramble),
        cmocka_unit_test(values_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
