/* The chunked decoder: one reading of every body, at every split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/str.h"
#include "proto/http/chunked.h"

/* Feeds in pieces of `piece` bytes. Returns how it ended; out gets the data. */
static enum chunked_result decode(const char *p, size_t n, size_t piece, char *out, size_t *ret_len,
                                  size_t *ret_used)
{
    struct chunked c;
    size_t at = 0, len = 0;

    chunked_init(&c);
    while (at < n) {
        size_t run = n - at < piece ? n - at : piece, used = 0;
        struct slice data = {NULL, 0};
        enum chunked_result r = chunked_next(&c, p + at, run, &used, &data);

        at += used;
        *ret_used = at;
        if (r == CHUNKED_DATA) {
            memcpy(out + len, data.ptr, data.len);
            len += data.len;
        } else if (r != CHUNKED_MORE) {
            *ret_len = len;
            return r;
        }
    }
    *ret_len = len;
    return CHUNKED_MORE;
}

static void test_decodes_at_every_split(void **state)
{
    (void)state;
    static const char body[] = "5\r\nhello\r\n06;ext=\"q\"\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET";
    char out[64];
    size_t len, used;

    for (size_t piece = 1; piece < sizeof(body); piece++) {
        assert_int_equal(decode(body, sizeof(body) - 1, piece, out, &len, &used), CHUNKED_END);
        assert_int_equal(len, 11);
        assert_memory_equal(out, "hello world", 11);
        assert_int_equal(used, sizeof(body) - 1 - 3);
    }
}

static void test_trailers_are_kept_for_who_asks(void **state)
{
    (void)state;
    static const char body[] = "1\r\nx\r\n0\r\nA: 1\r\nB:\r\n\r\nGET";
    struct strbuf kept;
    struct chunked c;
    struct slice data;
    size_t used, at = 0;
    enum chunked_result result = CHUNKED_MORE;

    strbuf_init(&kept, 0);
    chunked_init(&c);
    c.trailers = &kept;
    for (; result != CHUNKED_END; at += used) {
        result = chunked_next(&c, body + at, 1, &used, &data);
        assert_int_not_equal(result, CHUNKED_BAD);
    }
    assert_string_equal(kept.data, "A: 1\r\nB:\r\n\r\n");
    strbuf_done(&kept);
}

static void test_D01_D48_malformed_chunks_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "0_2e\r\n",
        "+5\r\n",
        "-5\r\n",
        "0x5\r\n",
        "\r\n",
        " 5\r\n",
        "5 \r\nhello",
        "5\nhello",
        "5\rhello",
        "g\r\n",
        ";a\r\n",
        "5\r\nhello6\r\n",
        "5\r\nhello\n",
        "5\r\nhello\r5",
        "0\r\n\n",
        "0\r\nX\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\n: y\r\n\r\n",
        "1111111111111111\r\n",
        "5;\nhello",
        "5;a\x01\r\n",
        "0\r\nX: \x01\r\n\r\n",
        "5\xa0\r\n",
    };
    char out[64];
    size_t len, used;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (decode(rows[i], strlen(rows[i]), 100, out, &len, &used) != CHUNKED_BAD)
            fail_msg("row %zu was not refused: %s", i, rows[i]);
    }
    assert_int_equal(decode("1\0\r\n", 4, 100, out, &len, &used), CHUNKED_BAD);
}

static void test_overhead_is_bounded(void **state)
{
    (void)state;
    char body[10000], out[8];
    size_t len, used;

    memset(body, 'a', sizeof(body));
    memcpy(body, "5;", 2);
    assert_int_equal(decode(body, 300, 300, out, &len, &used), CHUNKED_BAD);
    memcpy(body, "0\r\nX:", 5);
    assert_int_equal(decode(body, 8000, 8000, out, &len, &used), CHUNKED_MORE);
    assert_int_equal(decode(body, 9000, 9000, out, &len, &used), CHUNKED_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes_at_every_split),
        cmocka_unit_test(test_trailers_are_kept_for_who_asks),
        cmocka_unit_test(test_D01_D48_malformed_chunks_are_refused),
        cmocka_unit_test(test_overhead_is_bounded),
    };
    return cmocka_run_group_tests_name("chunked", tests, NULL, NULL);
}
