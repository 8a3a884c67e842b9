/* Hashes and encodings against published vectors; identifiers against their form. */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/codec.h"
#include "proto/base/ids.h"

static void test_sha256_vectors(void **state)
{
    (void)state;
    uint8_t out[SHA256_LEN];
    char hex[SHA256_HEX_LEN + 1];

    codec_sha256("", 0, out);
    codec_hex(out, sizeof(out), hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    codec_sha256("abc", 3, out);
    codec_hex(out, sizeof(out), hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_hmac_rfc4231(void **state)
{
    (void)state;
    uint8_t out[SHA256_LEN], key[131];
    char hex[SHA256_HEX_LEN + 1];

    codec_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
    codec_hex(out, sizeof(out), hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    codec_hmac_sha256(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First",
                      54, out);
    codec_hex(out, sizeof(out), hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_hex_both_ways(void **state)
{
    (void)state;
    uint8_t bytes[256], back[256];
    char hex[513];

    for (int i = 0; i < 256; i++)
        bytes[i] = (uint8_t)i;
    codec_hex(bytes, 256, hex);
    assert_int_equal(codec_unhex(hex, back, 256), 0);
    assert_memory_equal(bytes, back, 256);
    assert_int_equal(codec_unhex("AbCd", back, 2), 0);
    assert_int_equal(back[0], 0xab);
    static const char *const bad[] = {"",     "a",    "abc",  "abcde",
                                      "abcg", "ab d", "0xab", "\x10\x11zz"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(codec_unhex(bad[i], back, 2), -EINVAL);
}

static void test_base64url_rfc4648(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xfe", "-__-"}};
    char out[16];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        codec_base64url(rows[i][0], strlen(rows[i][0]), out);
        assert_string_equal(out, rows[i][1]);
    }
}

static void test_base64_rfc4648(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"},
                                          {"\xfb\xff\xfe", "+//+"}};
    static const char *const bad[] = {"Z", "Zg", "Zg=", "Zg==Zg", "Z!==", "Zm9v\xff"};
    char out[16], back[16];
    size_t n;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t len = strlen(rows[i][0]);
        codec_base64(rows[i][0], len, out);
        assert_string_equal(out, rows[i][1]);
        assert_int_equal(codec_base64_len(len), strlen(out));
        assert_true(codec_base64_room(strlen(out)) <= sizeof(back));
        assert_int_equal(codec_unbase64(out, strlen(out), back, &n), 0);
        assert_int_equal(n, len);
        assert_memory_equal(back, rows[i][0], len);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(codec_unbase64(bad[i], strlen(bad[i]), back, &n), -EINVAL);
}

static void test_equal(void **state)
{
    (void)state;
    assert_true(codec_equal("abc", "abc", 3) && codec_equal("a", "b", 0));
    assert_false(codec_equal("abc", "abd", 3) || codec_equal("xbc", "abc", 3));
}

static void test_ids_have_their_form_and_differ(void **state)
{
    (void)state;
    char a[ID_HEX_LEN + 1], b[ID_HEX_LEN + 1], u[ID_UUID_LEN + 1], v[ID_UUID_LEN + 1];
    uint8_t seen_or[64] = {0}, buf[64];

    ids_hex(a);
    ids_hex(b);
    assert_int_equal(strspn(a, "0123456789abcdef"), ID_HEX_LEN);
    assert_int_equal(strlen(a), ID_HEX_LEN);
    assert_string_not_equal(a, b);
    for (int round = 0; round < 200; round++) {
        ids_uuid(u);
        assert_int_equal(strlen(u), ID_UUID_LEN);
        for (int i = 0; i < ID_UUID_LEN; i++)
            assert_true(i == 8 || i == 13 || i == 18 || i == 23
                            ? u[i] == '-'
                            : isxdigit((unsigned char)u[i]) != 0);
        assert_int_equal(u[14], '4');
        assert_non_null(strchr("89ab", u[19]));
        ids_random(buf, sizeof(buf));
        for (size_t i = 0; i < sizeof(buf); i++)
            seen_or[i] |= buf[i];
    }
    ids_uuid(v);
    assert_string_not_equal(u, v);
    for (size_t i = 0; i < sizeof(seen_or); i++)
        assert_int_equal(seen_or[i], 0xff); /* every byte is filled */
}

static void test_is_uuid(void **state)
{
    (void)state;
    char id[ID_UUID_LEN + 1];

    ids_uuid(id);
    assert_true(ids_is_uuid(id));
    assert_true(ids_is_uuid("0123ABCD-0123-0123-0123-0123456789ab"));
    assert_false(ids_is_uuid(""));
    assert_false(ids_is_uuid("0123abcd-0123-0123-0123-0123456789a"));
    assert_false(ids_is_uuid("0123abcd-0123-0123-0123-0123456789abc"));
    assert_false(ids_is_uuid("0123abcd00123-0123-0123-0123456789ab"));
    assert_false(ids_is_uuid("../../../../../../../etc/passwd......"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_uuid),
        cmocka_unit_test(test_sha256_vectors),
        cmocka_unit_test(test_hmac_rfc4231),
        cmocka_unit_test(test_hex_both_ways),
        cmocka_unit_test(test_base64url_rfc4648),
        cmocka_unit_test(test_base64_rfc4648),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_ids_have_their_form_and_differ),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
