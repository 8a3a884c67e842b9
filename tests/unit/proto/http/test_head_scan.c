/* The byte-level check: limits, the first bad byte, every split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/head_scan.h"

static int scan(const char *text, size_t len, size_t *used, struct err *err)
{
    struct head_scan s;

    head_scan_init(&s, false, 32768, 100);
    return head_scan_feed(&s, text, len, used, err);
}

static void test_finds_the_end_at_every_split(void **state)
{
    (void)state;
    static const char text[] = "\r\nGET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\nrest";
    const size_t end = sizeof(text) - 1 - 4;

    for (size_t cut = 0; cut < end; cut++) {
        struct head_scan s;
        size_t used;

        head_scan_init(&s, false, 32768, 100);
        assert_int_equal(head_scan_feed(&s, text, cut, &used, NULL), 0);
        assert_int_equal(used, cut);
        assert_int_equal(head_scan_feed(&s, text + cut, sizeof(text) - 1 - cut, &used, NULL), 1);
        assert_int_equal(cut + used, end);
        assert_int_equal(s.total, end);
        assert_int_equal(s.skip, 2);
        assert_int_equal(s.n_fields, 2);
    }
}

static void test_D66_refuses_at_the_first_foreign_byte(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } rows[] = {
        {"\x16\x03\x01", 1}, {"\0", 1},      {" GET", 1},      {"\r\r", 2},
        {"\r\n\r\n", 3},     {"GET /\n", 6}, {"GET /\x80", 6}, {"GET / H\r\nA b", 11},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {0};
        size_t used;

        assert_int_equal(scan(rows[i].text, rows[i].len - 1, &used, &err), 0);
        assert_true(scan(rows[i].text, rows[i].len, &used, &err) < 0);
        assert_int_equal(err.code, ERR_BAD_REQUEST);
    }
}

static void expect_limit(const char *text, size_t len, int code)
{
    struct err err = {0};
    size_t used;

    assert_true(scan(text, len, &used, &err) < 0);
    assert_int_equal(err.code, code);
}

static void add_filler(struct strbuf *b, const char *start, size_t n)
{
    strbuf_reset(b);
    strbuf_adds(b, start);
    for (size_t i = 0; i < n; i++)
        strbuf_addc(b, 'a');
}

static void test_D52_limits(void **state)
{
    (void)state;
    struct strbuf b;
    size_t used;

    strbuf_init(&b, 100000);
    add_filler(&b, "GET /", 65000);
    expect_limit(b.data, b.len, ERR_URI_TOO_LONG);
    add_filler(&b, "GET / HTTP/1.1\r\nX: ", 65000);
    expect_limit(b.data, b.len, ERR_HEADERS_TOO_LARGE);

    add_filler(&b, "GET / HTTP/1.1\r\n", 0);
    for (int i = 0; i < 100; i++)
        strbuf_adds(&b, "a: b\r\n");
    assert_int_equal(scan(b.data, b.len, &used, NULL), 0);
    strbuf_adds(&b, "a: b\r\n");
    expect_limit(b.data, b.len, ERR_HEADERS_TOO_LARGE);
    strbuf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_end_at_every_split),
        cmocka_unit_test(test_D66_refuses_at_the_first_foreign_byte),
        cmocka_unit_test(test_D52_limits),
    };
    return cmocka_run_group_tests_name("head_scan", tests, NULL, NULL);
}
