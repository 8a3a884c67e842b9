#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/jfield.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes that pass into a JSON string as they are: printable ASCII but '"' and '\\'. */
static const bool plain[256] = {
    [0x20 ... 0x21] = true,
    [0x23 ... 0x5b] = true,
    [0x5d ... 0x7e] = true,
};

/* U+0085, U+2028 and U+2029 end a line for some clients' splitters (contracts/execd.md rule 19). */
static const char *line_separator(const char *p, int len)
{
    if (len == 2 && memcmp(p, "\xc2\x85", 2) == 0)
        return "\\u0085";
    if (len == 3 && memcmp(p, "\xe2\x80\xa8", 3) == 0)
        return "\\u2028";
    if (len == 3 && memcmp(p, "\xe2\x80\xa9", 3) == 0)
        return "\\u2029";
    return NULL;
}

#define PIECE 512      /* bytes of text escaped at a time */
#define EXPANSION_MAX 6 /* "\u001b" for one byte */
#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* How many of the eight bytes from the first on are plain. Each test sets the top bit of the bytes that fail it;
 * borrows and carries only reach bytes above such a one, so the lowest is exact. */
static unsigned plain_run(const char *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof(x));
    x = le64toh(x);
    uint64_t quote = x ^ EACH('"'), backslash = x ^ EACH('\\');
    uint64_t odd = (x - EACH(0x20)) | (x + EACH(1)) | x | (quote - EACH(1)) | (backslash - EACH(1));
    odd &= EACH(0x80);
    return odd == 0 ? 8 : (unsigned)__builtin_ctzll(odd) / 8;
}

static char *put_plain(char *o, const char **p, const char *end)
{
    unsigned n = 8;

    while (n == 8 && end - *p >= 8) {
        n = plain_run(*p);
        memcpy(o, *p, 8); /* what is too much is overwritten */
        o += n;
        *p += n;
    }
    while (*p < end && plain[(unsigned char)**p])
        *o++ = *(*p)++;
    return o;
}

static char *put_ascii_escape(char *o, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[128] = {['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                      ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};

    *o++ = '\\';
    if (letters[c] != 0) {
        *o++ = letters[c];
        return o;
    }
    memcpy(o, "u00", 3);
    o[3] = digits[c >> 4];
    o[4] = digits[c & 15];
    return o + 5;
}

/* The sequence or bad byte at *p, which is no plain one. */
static char *put_other(char *o, const char **p, const char *end)
{
    if ((unsigned char)**p < 0x80)
        return put_ascii_escape(o, (unsigned char)*(*p)++);
    int n = utf8_sequence(*p, (size_t)(end - *p));
    const char *separator = n > 1 ? line_separator(*p, n) : NULL;
    const char *from = n <= 0 ? REPLACEMENT : separator != NULL ? separator : *p;
    size_t len = n <= 0 ? strlen(REPLACEMENT) : separator != NULL ? strlen(separator) : (size_t)n;
    memcpy(o, from, len);
    *p += n > 0 ? n : 1;
    return o + len;
}

void json_escape(struct strbuf *out, const char *p, size_t len)
{
    char buf[(PIECE + 8) * EXPANSION_MAX]; /* a sequence or a word may reach beyond its piece */
    const char *end = p + len;

    strbuf_addc(out, '"');
    while (p < end) {
        const char *stop = p + MIN((size_t)(end - p), (size_t)PIECE);
        char *o = buf;
        while (p < stop) {
            o = put_plain(o, &p, stop);
            if (p < stop)
                o = put_other(o, &p, end);
        }
        strbuf_add(out, buf, (size_t)(o - buf));
    }
    strbuf_addc(out, '"');
}

/* jansson escapes controls; the line separators are valid UTF-8 to it and are replaced behind it. They can only
 * stand inside strings. */
char *json_compact(const json_t *json, size_t *ret_len)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    struct strbuf out;

    if (text == NULL)
        return NULL;
    size_t len = strlen(text);
    if (memmem(text, len, "\xc2\x85", 2) == NULL && memmem(text, len, "\xe2\x80\xa8", 3) == NULL &&
        memmem(text, len, "\xe2\x80\xa9", 3) == NULL) {
        *ret_len = len;
        return text;
    }
    strbuf_init(&out, len * 3 + 1);
    for (const char *p = text; *p != '\0';) {
        int n = utf8_sequence(p, (size_t)(text + len - p));
        size_t step = n > 0 ? (size_t)n : 1;
        const char *separator = line_separator(p, n);
        if (separator != NULL)
            strbuf_adds(&out, separator);
        else
            strbuf_add(&out, p, step);
        p += step;
    }
    free(text);
    *ret_len = out.len;
    return strbuf_take(&out);
}
