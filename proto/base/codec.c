#include "proto/base/codec.h"

#include <errno.h>
#include <nettle/base64.h>
#include <string.h>

#include "proto/base/str.h"

void codec_sha256(const void *p, size_t n, uint8_t out[SHA256_LEN])
{
    struct sha256_ctx ctx;

    sha256_init(&ctx);
    sha256_update(&ctx, n, p);
    sha256_digest(&ctx, SHA256_LEN, out);
}

void codec_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
                       uint8_t out[SHA256_LEN])
{
    struct hmac_sha256_ctx ctx;

    hmac_sha256_set_key(&ctx, key_len, key);
    hmac_sha256_update(&ctx, n, p);
    hmac_sha256_digest(&ctx, SHA256_LEN, out);
    explicit_bzero(&ctx, sizeof(ctx));
}

void codec_hex(const void *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = p;

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

int codec_unhex(const char *hex, void *out, size_t n)
{
    uint8_t *bytes = out;

    if (strlen(hex) != 2 * n)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        int high = str_hex_digit(hex[2 * i]), low = str_hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return -EINVAL;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

void codec_base64url(const void *p, size_t n, char *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *in = p;
    size_t o = 0;

    for (size_t i = 0; i < n; i += 3) {
        size_t have = MIN(n - i, (size_t)3);
        uint32_t group = (uint32_t)in[i] << 16 | (have > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                         (have > 2 ? in[i + 2] : 0);
        for (size_t k = 0; k <= have; k++)
            out[o++] = alphabet[group >> (18 - 6 * k) & 63];
    }
    out[o] = '\0';
}

size_t codec_base64_len(size_t n)
{
    return BASE64_ENCODE_RAW_LENGTH(n);
}

void codec_base64(const void *p, size_t n, char *out)
{
    base64_encode_raw(out, n, p);
    out[codec_base64_len(n)] = '\0';
}

size_t codec_base64_room(size_t len)
{
    return BASE64_DECODE_LENGTH(len);
}

int codec_unbase64(const char *text, size_t len, void *out, size_t *ret_n)
{
    struct base64_decode_ctx ctx;
    size_t n = codec_base64_room(len);

    base64_decode_init(&ctx);
    if (base64_decode_update(&ctx, &n, out, len, text) != 1 || base64_decode_final(&ctx) != 1)
        return -EINVAL;
    *ret_n = n;
    return 0;
}

bool codec_equal(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t difference = 0;

    for (size_t i = 0; i < n; i++)
        difference |= (uint8_t)(x[i] ^ y[i]);
    return difference == 0;
}
