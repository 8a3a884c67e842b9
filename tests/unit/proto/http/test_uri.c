/* Percent-decoding once, clean text, Host syntax. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/defs.h"
#include "proto/http/uri.h"

static void test_D57_decodes_exactly_once(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL = refused */
        bool plus;
    } rows[] = {
        {"a%20b", "a b", false},
        {"%2e%2E", "..", false},
        {"%252f", "%2f", false},
        {"a+b", "a+b", false},
        {"a+b", "a b", true},
        {"%2B", "+", true},
        {"", "", false},
        {"%00", NULL, false},
        {"%", NULL, false},
        {"%4", NULL, false},
        {"%4g", NULL, false},
        {"%u002e", NULL, false},
        {"%C3%A9", "\xc3\xa9", false},
        {"x%", NULL, true},
        {"%-1", NULL, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[32];
        ssize_t n = uri_decode(rows[i].in, strlen(rows[i].in), rows[i].plus, out);

        if (!rows[i].out) {
            assert_true(n < 0);
            continue;
        }
        assert_int_equal(n, strlen(rows[i].out));
        assert_memory_equal(out, rows[i].out, (size_t)n);
    }
}

static void test_decoded_copies_are_utf8(void **state)
{
    (void)state;
    struct arena arena;
    const char *text;

    arena_init(&arena);
    assert_int_equal(uri_decode_query(&arena, "a+%26", 5, &text), 0);
    assert_string_equal(text, "a &");
    assert_int_equal(uri_decode_path(&arena, "a+%26", 5, &text), 0);
    assert_string_equal(text, "a+&");
    assert_int_equal(uri_decode_query(&arena, "%ff", 3, &text), -EINVAL);
    assert_int_equal(uri_decode_query(&arena, "%00", 3, &text), -EINVAL);
    arena_done(&arena);
}

static void test_encoded_copies_decode_to_themselves(void **state)
{
    static const char all[] = "aZ09-._~ /%+?#&=\"'\x01\x7f\xc3\xa9";
    struct arena arena = {0};
    const char *encoded, *decoded;

    (void)state;
    encoded = uri_encode(&arena, all, "");
    assert_string_equal(encoded, "aZ09-._~%20%2F%25%2B%3F%23%26%3D%22%27%01%7F%C3%A9");
    assert_int_equal(uri_decode_query(&arena, encoded, strlen(encoded), &decoded), 0);
    assert_string_equal(decoded, all);
    assert_string_equal(uri_encode(&arena, "/a b/", "/"), "/a%20b/");
    assert_string_equal(uri_encode(&arena, "", ""), "");
    arena_done(&arena);
}

static void test_D57_text_is_clean_utf8(void **state)
{
    (void)state;
    assert_true(uri_text_is_clean("caf\xc3\xa9 \\;x", 9));
    assert_false(uri_text_is_clean("a\nb", 3));
    assert_false(uri_text_is_clean("\x7f", 1));
    assert_false(uri_text_is_clean("\xc0\xaf", 2));     /* overlong '/' */
    assert_false(uri_text_is_clean("\xed\xa0\x80", 3)); /* surrogate */
}

static void test_D51_host_syntax(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",         "localhost", "a.example:80", "127.0.0.1:65535", "[::1]", "[::1]:44772",
        "a_b-c.d:", "xn--e1a",   "%41.example"};
    static const char *const bad[] = {"a:65536", "a:-1", "a:8x", "u@a", "a/b",
                                      "a b",     ":80",  "[::1", "[]",  "a:1:2",
                                      "[::1]x",  "a\\b", "a?b",  "a#b", "a:000080"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(uri_host_is_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(uri_host_is_valid(bad[i], strlen(bad[i])));
}

static void test_I01_ports_are_plain_decimals(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     "0",           "08",  "65536",
                                      "-1",   "+1",          " 1",  "1 ",
                                      "0x50", "80@evil",     "8e1", "18446744073709551617",
                                      "1.",   "\xef\xbc\x91"};
    uint16_t port = 7;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(uri_parse_port(bad[i], &port));
    assert_int_equal(port, 7);
    assert_true(uri_parse_port("1", &port) && port == 1);
    assert_true(uri_parse_port("65535", &port) && port == 65535);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_D57_decodes_exactly_once),
        cmocka_unit_test(test_decoded_copies_are_utf8),
        cmocka_unit_test(test_encoded_copies_decode_to_themselves),
        cmocka_unit_test(test_D57_text_is_clean_utf8),
        cmocka_unit_test(test_D51_host_syntax),
        cmocka_unit_test(test_I01_ports_are_plain_decimals),
    };
    return cmocka_run_group_tests_name("uri", tests, NULL, NULL);
}
