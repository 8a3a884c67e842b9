#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/jfield.h"

static void check(const char *text, size_t len, const char *expected)
{
    struct strbuf out;

    strbuf_init(&out, 0);
    json_escape(&out, text, len);
    assert_int_equal(strbuf_check(&out), 0);
    assert_string_equal(out.data, expected);
    strbuf_done(&out);
}

static void test_every_kind(void **state)
{
    (void)state;
    check("", 0, "\"\"");
    check("plain ~text", 11, "\"plain ~text\"");
    check("\"\\/\b\f\n\r\t", 8, "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
    check("\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\\u007f\"");
    check("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    check("\xc2\x85\xe2\x80\xa8\xe2\x80\xa9", 8, "\"\\u0085\\u2028\\u2029\"");
    /* A lone byte, an overlong form, a surrogate, a cut sequence: one U+FFFD for each byte. */
    check("\xff", 1, "\"\xef\xbf\xbd\"");
    check("\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    check("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    check("a\xe2\x82", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* The obvious way, byte by byte. */
static void reference(struct strbuf *out, const char *p, size_t len)
{
    static const char special[] = "\b\t\n\f\r\"\\";

    strbuf_addc(out, '"');
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)p[i];
        int n = utf8_sequence(p + i, len - i);
        const char *letter = memchr(special, c, sizeof(special) - 1);
        if (n <= 0)
            strbuf_adds(out, "\xef\xbf\xbd");
        else if (letter != NULL)
            strbuf_addf(out, "\\%c", "btnfr\"\\"[letter - special]);
        else if (n == 1 && (c < 0x20 || c == 0x7f))
            strbuf_addf(out, "\\u%04x", c);
        else if (n == 2 && memcmp(p + i, "\xc2\x85", 2) == 0)
            strbuf_adds(out, "\\u0085");
        else if (n == 3 &&
                 (memcmp(p + i, "\xe2\x80\xa8", 3) == 0 || memcmp(p + i, "\xe2\x80\xa9", 3) == 0))
            strbuf_adds(out, p[i + 2] == '\xa8' ? "\\u2028" : "\\u2029");
        else
            strbuf_add(out, p + i, (size_t)n);
        i += n > 0 ? (size_t)n : 1;
    }
    strbuf_addc(out, '"');
}

static void compare(const char *p, size_t len)
{
    struct strbuf mine, theirs;

    strbuf_init(&mine, 0);
    strbuf_init(&theirs, 0);
    json_escape(&mine, p, len);
    reference(&theirs, p, len);
    assert_int_equal(mine.len, theirs.len);
    assert_memory_equal(mine.data, theirs.data, mine.len);
    json_t *value = json_loadb(mine.data, mine.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(value);
    json_decref(value);
    strbuf_done(&mine);
    strbuf_done(&theirs);
}

static void test_like_the_obvious_way(void **state)
{
    static const char *const alphabet[] = {"a",
                                           "b",
                                           "z",
                                           "0",
                                           " ",
                                           "\n",
                                           "\"",
                                           "\\",
                                           "\x01",
                                           "\x7f",
                                           "\xff",
                                           "\xc3\xa9",
                                           "\xe2\x80\xa8",
                                           "\xc2\x85",
                                           "\xf0\x9f\x98\x80",
                                           "\xe2",
                                           "\x80",
                                           "\xf0\x9f"};
    char text[1600];

    (void)state;
    srand(7);
    for (int round = 0; round < 2000; round++) {
        size_t len = 0, want = (size_t)(rand() % 1500);
        int dense = 1 + rand() % 18;
        while (len < want) {
            const char *unit = alphabet[rand() % dense];
            memcpy(text + len, unit, strlen(unit));
            len += strlen(unit);
        }
        char *exact = malloc(len + 1); /* so that the sanitizer sees any read beyond the end */
        assert_non_null(exact);
        memcpy(exact, text, len);
        compare(exact, len);
        free(exact);
    }
}

static void test_all_pairs_of_bytes(void **state)
{
    (void)state;
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++)
            compare((const char[]){'x', (char)a, (char)b, 'y'}, 4);
    }
}

static void test_ceiling_is_respected(void **state)
{
    struct strbuf out;

    (void)state;
    strbuf_init(&out, 100);
    char text[200];
    memset(text, 'a', sizeof(text));
    json_escape(&out, text, sizeof(text));
    assert_int_equal(strbuf_check(&out), -EOVERFLOW);
    strbuf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_like_the_obvious_way),
        cmocka_unit_test(test_all_pairs_of_bytes),
        cmocka_unit_test(test_ceiling_is_respected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
