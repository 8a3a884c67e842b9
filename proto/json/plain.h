/*
 * Private to proto/json: bytes of JSON strings that need no look of their own, eight at a time.
 */
#pragma once

#include <endian.h>
#include <string.h>

#include "proto/base/defs.h"

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* How many of the eight bytes from the first on are plain: printable ASCII but '"' and '\\'. Each test sets the top bit
 * of the bytes that fail it; borrows and carries only reach bytes above such a one, so the lowest is exact. */
static inline unsigned plain_run(const char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    x = le64toh(x);
    uint64_t quote = x ^ EACH('"'), backslash = x ^ EACH('\\');
    uint64_t odd = (x - EACH(0x20)) | (x + EACH(1)) | x | (quote - EACH(1)) | (backslash - EACH(1));
    odd &= EACH(0x80);
    return odd == 0 ? 8 : (unsigned)__builtin_ctzll(odd) / 8;
}

/* The first byte from p on that may not be plain. */
static inline const char *skip_plain(const char *p, const char *end)
{
    unsigned n = 8;

    while (n == 8 && end - p >= 8) {
        n = plain_run(p);
        p += n;
    }
    return p;
}
