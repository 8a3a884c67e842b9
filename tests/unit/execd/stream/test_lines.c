#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "execd/stream/event.h"
#include "execd/stream/lines.h"

/* Pieces are joined with '|', so that their edges show. */
static void join(void *arg, const char *text, size_t len, size_t taken)
{
    struct strbuf *out = arg;

    (void)taken;
    strbuf_add(out, text, len);
    strbuf_addc(out, '|');
}

static void check(bool strip, const char *input, const char *expected)
{
    size_t n = strlen(input);

    for (size_t step = 1; step <= n; step++) { /* every way to cut the input into equal runs */
        struct lines l;
        struct strbuf out;
        strbuf_init(&out, 0);
        lines_init(&l, strip);
        for (size_t at = 0; at < n; at += step)
            lines_feed(&l, input + at, MIN(step, n - at), join, &out);
        lines_flush(&l, true, join, &out);
        assert_string_equal(out.data != NULL ? out.data : "", expected);
        lines_done(&l);
        strbuf_done(&out);
    }
}

static void test_C06_keep(void **state)
{
    (void)state;
    check(false, "a\n\nb\r\nc\rd\n", "a\n|\n|b\r\n|c\r|d\n|");
    check(false, "x", "x|");
    check(false, "\r", "\r|");
    check(false, "\r\r\n\r", "\r|\r\n|\r|");
    check(false, "\n\r", "\n|\r|");
}

static void test_C06_strip(void **state)
{
    (void)state;
    check(true, "a\n\nb\r\nc\rd\n", "a|\n|b|c|d|");
    check(true, "x", "x|");
    check(true, "\r\r\n\r", "\n|\n|\n|");
    check(true, "50%\r100%\r\n", "50%|100%|");
}

static void test_C05_flush_spares_unfinished_characters(void **state)
{
    struct lines l;
    struct strbuf out;

    (void)state;
    strbuf_init(&out, 0);
    lines_init(&l, false);
    lines_feed(&l, "a\xe2\x82", 3, join, &out);
    lines_flush(&l, false, join, &out);
    assert_string_equal(out.data, "a|");
    lines_feed(&l, "\xac!", 2, join, &out);
    lines_flush(&l, false, join, &out);
    assert_string_equal(out.data, "a|\xe2\x82\xac!|");
    lines_feed(&l, "b\r", 2, join, &out);
    assert_string_equal(out.data, "a|\xe2\x82\xac!|"); /* CR waits: LF may come */
    lines_flush(&l, false, join, &out);                /* but not for ever */
    lines_feed(&l, "\n", 1, join, &out);
    assert_string_equal(out.data, "a|\xe2\x82\xac!|b\r|\n|");
    lines_done(&l);
    strbuf_done(&out);
}

static void total(void *arg, const char *text, size_t len, size_t taken)
{
    (void)text;
    (void)len;
    *(size_t *)arg += taken;
}

static void test_C04_long_line_is_bounded_and_whole(void **state)
{
    static char block[65536];
    struct lines l;
    size_t sum = 0;

    (void)state;
    memset(block, 'a', sizeof(block));
    for (int strip = 0; strip < 2; strip++) {
        sum = 0;
        lines_init(&l, strip == 1);
        for (int i = 0; i < 100; i++) {
            lines_feed(&l, block, sizeof(block), total, &sum);
            assert_true(l.carry.len <= LINE_STRIP_MAX);
        }
        lines_flush(&l, true, total, &sum);
        assert_int_equal(sum, 100 * sizeof(block));
        lines_done(&l);
    }
}

static void test_flood_goes_out_in_blocks(void **state)
{
    static char block[LINE_FLOOD + 100];
    struct lines l;
    struct strbuf out;

    (void)state;
    memset(block, 'a', sizeof(block));
    for (size_t i = 9; i < sizeof(block); i += 10)
        block[i] = '\n';
    strbuf_init(&out, 0);
    lines_init(&l, false);
    lines_feed(&l, block, sizeof(block), join, &out);
    size_t pieces = 0;
    for (size_t i = 0; i < out.len; i++)
        pieces += out.data[i] == '|';
    assert_int_equal(pieces, 1);
    lines_done(&l);
    strbuf_done(&out);
}

static void test_C05_events_are_valid_json_for_any_bytes(void **state)
{
    struct strbuf out;

    (void)state;
    strbuf_init(&out, 0);
    event_encode_text(&out, EVENT_STDOUT, 5, "a\"\\\n\x01\xff\xc2\x85\xe2\x80\xa8z", 12);
    assert_string_equal(out.data,
                        "{\"type\":\"stdout\",\"text\":"
                        "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\\u0085\\u2028z\",\"timestamp\":5}");
    strbuf_reset(&out);
    event_encode_fragment(&out, EVENT_EXECUTION_COMPLETE, 7, "0", 1);
    assert_string_equal(out.data, "{\"type\":\"execution_complete\",\"timestamp\":7}");
    strbuf_reset(&out);
    event_encode_fragment(&out, EVENT_ERROR, 7, "{}", 2);
    assert_string_equal(out.data, "{\"type\":\"error\",\"timestamp\":7,\"error\":{}}");
    strbuf_done(&out);
}

/* Whatever the cuts: keep repeats the bytes, strip the lines, and every byte is accounted for. */
struct record {
    struct strbuf text;
    size_t taken;
};

static void record(void *arg, const char *text, size_t len, size_t taken)
{
    struct record *r = arg;

    assert_true(len > 0 && taken > 0);
    strbuf_add(&r->text, text, len);
    r->taken += taken;
}

static void test_random_cuts_change_nothing(void **state)
{
    static const char alphabet[] = {'a', 'b', '\n', '\r', '\xc3', '\xa9', '\0', 'z'};
    char input[4000];

    (void)state;
    srand(3);
    for (int round = 0; round < 300; round++) {
        size_t n = (size_t)rand() % sizeof(input), swallowed = 0;
        for (size_t i = 0; i < n; i++)
            input[i] = alphabet[(size_t)rand() % sizeof(alphabet)];
        for (int strip = 0; strip < 2; strip++) {
            struct lines l;
            struct record r = {.taken = 0};
            strbuf_init(&r.text, 0);
            lines_init(&l, strip == 1);
            for (size_t at = 0, step; at < n; at += step) {
                size_t random = 1 + (size_t)rand() % 300;
                step = MIN(random, n - at);
                if (strip == 1 && at > 0 && input[at] == '\n' && input[at - 1] == '\r')
                    swallowed++;
                lines_feed(&l, input + at, step, record, &r);
                if (rand() % 4 == 0)
                    lines_trim(&l);
            }
            assert_int_equal(r.taken + lines_pending(&l) + swallowed * (size_t)strip, n);
            lines_flush(&l, true, record, &r);
            assert_int_equal(lines_pending(&l), 0);
            if (strip == 0) {
                assert_int_equal(r.text.len, n);
                assert_true(n == 0 || memcmp(r.text.data, input, n) == 0);
            }
            lines_done(&l);
            strbuf_done(&r.text);
        }
    }
}

static void test_C06_redraws_cost_no_more_than_lines(void **state)
{
    static char block[256 * 1024];
    struct lines l;
    size_t sum = 0;

    (void)state;
    memset(block, '\r', sizeof(block));
    for (int strip = 0; strip < 2; strip++) {
        lines_init(&l, strip == 1);
        for (int i = 0; i < 20;
             i++) /* with a search to the end for each line this would take minutes */
            lines_feed(&l, block, sizeof(block), total, &sum);
        lines_flush(&l, true, total, &sum);
        lines_done(&l);
    }
    assert_int_equal(sum, 2 * 20 * sizeof(block));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_C06_keep),
        cmocka_unit_test(test_C06_strip),
        cmocka_unit_test(test_C05_flush_spares_unfinished_characters),
        cmocka_unit_test(test_C04_long_line_is_bounded_and_whole),
        cmocka_unit_test(test_flood_goes_out_in_blocks),
        cmocka_unit_test(test_random_cuts_change_nothing),
        cmocka_unit_test(test_C06_redraws_cost_no_more_than_lines),
        cmocka_unit_test(test_C05_events_are_valid_json_for_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
