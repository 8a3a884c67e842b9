#include "proto/base/ids.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "proto/base/codec.h"

void ids_random(void *buf, size_t n)
{
    static const char text[] = "getrandom failed: aborting rather than making a weak secret\n";
    char *at = buf;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1); /* dying anyway */
            (void)ignored;
            abort();
        }
        at += got;
        n -= (size_t)got;
    }
}

void ids_hex(char out[ID_HEX_LEN + 1])
{
    uint8_t raw[ID_HEX_LEN / 2];

    ids_random(raw, sizeof(raw));
    codec_hex(raw, sizeof(raw), out);
}

void ids_uuid(char out[ID_UUID_LEN + 1])
{
    uint8_t raw[16];
    char hex[33];

    ids_random(raw, sizeof(raw));
    raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40); /* version 4 */
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
    codec_hex(raw, sizeof(raw), hex);
    snprintf(out, ID_UUID_LEN + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
}

bool ids_is_uuid(const char *text)
{
    for (size_t i = 0; i < ID_UUID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    }
    return text[ID_UUID_LEN] == '\0';
}
