#include "proto/base/str.h"

#include <string.h>
#include <strings.h>

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t len = strlen(s), tail = strlen(suffix);
    return len >= tail && memcmp(s + len - tail, suffix, tail) == 0;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* ASCII only: the locale has no say in what a header or an option means. */
bool str_eq_nocase(const char *a, const char *b)
{
    for (; *a != '\0' && lower(*a) == lower(*b); a++)
        b++;
    return *a == '\0' && *b == '\0';
}

/* Range of the second byte per lead byte (Unicode table 3-7): no overlong forms, no surrogates,
 * nothing above U+10FFFF. Returns the sequence's length, 0 for a byte that leads nothing. */
static int lead_byte(uint8_t lead, uint8_t *ret_low, uint8_t *ret_high)
{
    *ret_low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *ret_high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

int utf8_sequence(const char *p, size_t len)
{
    const uint8_t *s = (const uint8_t *)p;
    uint8_t low, high;

    if (len == 0)
        return -1;
    int want = lead_byte(s[0], &low, &high);
    for (int i = 1; i < want; i++) {
        if ((size_t)i >= len)
            return i - want;
        if (s[i] < low || s[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return want;
}

size_t utf8_cut(const char *p, size_t len, size_t max)
{
    size_t n = MIN(len, max);

    while (n < len && n > max - 3 && ((unsigned char)p[n] & 0xc0) == 0x80)
        n--;
    return n;
}

bool utf8_is_valid(const char *p, size_t len)
{
    while (len > 0) {
        uint64_t word;
        if (len >= sizeof(word)) {
            memcpy(&word, p, sizeof(word));
            if ((word & 0x8080808080808080u) == 0) {
                p += sizeof(word);
                len -= sizeof(word);
                continue;
            }
        }
        int n = utf8_sequence(p, len);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}
