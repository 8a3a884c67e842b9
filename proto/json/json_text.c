#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/jfield.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* Bytes that pass into a JSON string as they are: printable ASCII but '"' and '\\'. Filled by value, so that the
 * scan below is one load and one test per byte. */
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

static void add_ascii_escape(struct strbuf *out, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[128] = {['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                      ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
    char text[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};

    if (letters[c] != 0) {
        text[1] = letters[c];
        strbuf_add(out, text, 2);
        return;
    }
    strbuf_add(out, text, sizeof(text));
}

void json_escape(struct strbuf *out, const char *p, size_t len)
{
    const char *end = p + len;

    strbuf_addc(out, '"');
    while (p < end) {
        const char *run = p;
        while (p < end && plain[(unsigned char)*p])
            p++;
        if (p > run)
            strbuf_add(out, run, (size_t)(p - run));
        if (p == end)
            break;
        int n = utf8_sequence(p, (size_t)(end - p));
        const char *separator = n > 1 ? line_separator(p, n) : NULL;
        if (n <= 0)
            strbuf_add(out, replacement, sizeof(replacement) - 1);
        else if (n == 1)
            add_ascii_escape(out, (unsigned char)*p);
        else if (separator != NULL)
            strbuf_adds(out, separator);
        else
            strbuf_add(out, p, (size_t)n);
        p += n > 0 ? n : 1;
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
