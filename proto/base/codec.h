/*
 * Hashes and encodings over nettle: SHA-256, HMAC-SHA-256, hex, base64; constant-time compare.
 *
 * Thread rule: any thread; a context belongs to its owner.
 */
#pragma once

#include <nettle/hmac.h>
#include <nettle/sha2.h>

#include "proto/base/defs.h"

#define SHA256_LEN 32
#define SHA256_HEX_LEN 64

void codec_sha256(const void *p, size_t n, uint8_t out[SHA256_LEN]);
void codec_hmac_sha256(const void *key, size_t key_len, const void *p, size_t n,
                       uint8_t out[SHA256_LEN]);

/* Lower-case hex of n bytes; out has 2n+1 bytes. */
void codec_hex(const void *p, size_t n, char *out);
/* Exactly 2n hex digits of either case → n bytes; -EINVAL. */
int codec_unhex(const char *hex, void *out, size_t n) must_check;

/* base64url without padding (RFC 4648 section 5); out has 4*((n+2)/3)+1 bytes. */
void codec_base64url(const void *p, size_t n, char *out);

/* base64 with padding (RFC 4648 section 4); out has codec_base64_len(n)+1 bytes. */
size_t codec_base64_len(size_t n);
void codec_base64(const void *p, size_t n, char *out);
/* The way back: out has codec_base64_room(len) bytes. White space is skipped. -EINVAL. */
size_t codec_base64_room(size_t len);
int codec_unbase64(const char *text, size_t len, void *out, size_t *ret_n) must_check;

/* Compares without early exit. */
bool codec_equal(const void *a, const void *b, size_t n);
