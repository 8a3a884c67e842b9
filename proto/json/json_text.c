#include "proto/json/jfield.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/json_scan.h"
#include "proto/json/plain.h"

/* Parsed documents stop at JSON_SCAN_DEPTH_MAX; ours wrap them in a few levels more. */
#define WRITE_DEPTH_MAX (JSON_SCAN_DEPTH_MAX + JSON_DEPTH_MAX)

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

#define PIECE 512       /* bytes of text escaped at a time */
#define EXPANSION_MAX 6 /* "\u001b" for one byte */

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
    static const char letters[128] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                      ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};

    *o++ = '\\';
    if (letters[c] != 0) {
        *o++ = letters[c];
        return o;
    }
    *o++ = 'u';
    *o++ = '0';
    *o++ = '0';
    *o++ = digits[c >> 4];
    *o++ = digits[c & 15];
    return o;
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
    /* A sequence or a word may reach beyond its piece. Not zeroed first: most strings are far shorter than this. */
    __attribute__((uninitialized)) char buf[(PIECE + 8) * EXPANSION_MAX];
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

/* Own writer rather than json_dumps: one pass with our escapes, and reals as people write them. */
static void write_value(struct strbuf *out, const json_t *json, int depth);

/* The shortest of 15, 16 or 17 digits that reads back as the same double. ".0" keeps a whole real a real. */
static void write_real(struct strbuf *out, double value)
{
    char text[40];

    if (!isfinite(value)) { /* JSON has no word for it */
        strbuf_adds(out, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    strbuf_adds(out, text);
    if (strpbrk(text, ".e") == NULL)
        strbuf_adds(out, ".0");
}

static void write_object(struct strbuf *out, const json_t *json, int depth)
{
    const char *separator = "";

    strbuf_addc(out, '{');
    /* The iterator takes a mutable object but only reads. */
    json_t *object = (json_t *)(uintptr_t)json;
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        strbuf_adds(out, separator);
        json_escape(out, json_object_iter_key(at), strlen(json_object_iter_key(at)));
        strbuf_addc(out, ':');
        write_value(out, json_object_iter_value(at), depth + 1);
        separator = ",";
    }
    strbuf_addc(out, '}');
}

static void write_array(struct strbuf *out, const json_t *json, int depth)
{
    strbuf_addc(out, '[');
    for (size_t i = 0; i < json_array_size(json); i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        write_value(out, json_array_get(json, i), depth + 1);
    }
    strbuf_addc(out, ']');
}

static void write_value(struct strbuf *out, const json_t *json, int depth)
{
    if (depth > WRITE_DEPTH_MAX) {
        out->failed = true;
        return;
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        write_object(out, json, depth);
        break;
    case JSON_ARRAY:
        write_array(out, json, depth);
        break;
    case JSON_STRING:
        json_escape(out, json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        strbuf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
        break;
    case JSON_REAL:
        write_real(out, json_real_value(json));
        break;
    case JSON_TRUE:
        strbuf_adds(out, "true");
        break;
    case JSON_FALSE:
        strbuf_adds(out, "false");
        break;
    case JSON_NULL:
        strbuf_adds(out, "null");
        break;
    }
}

char *json_compact(const json_t *json, size_t *ret_len)
{
    struct strbuf out;

    strbuf_init(&out, SIZE_MAX - 1); /* what could be parsed or built can be written */
    write_value(&out, json, 0);
    size_t len = out.len;
    char *text = strbuf_take(&out);
    if (text != NULL)
        *ret_len = len;
    return text;
}
