#include "proto/base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRBUF_MAX_DEFAULT (1024u * 1024u)
#define STRBUF_CAP_MIN 64u

void strbuf_init(struct strbuf *b, size_t max)
{
    *b = (struct strbuf){.max = max != 0 ? max : STRBUF_MAX_DEFAULT};
}

void strbuf_done(struct strbuf *b)
{
    free(b->data);
    strbuf_init(b, b->max);
}

void strbuf_reset(struct strbuf *b)
{
    b->len = 0;
    b->failed = b->no_memory = false;
    if (b->data != NULL)
        b->data[0] = '\0';
}

/* Room for n more bytes and the NUL. Doubles, so that n appends cost O(n) copies. */
static bool grow(struct strbuf *b, size_t n)
{
    size_t max = b->max != 0 ? b->max : STRBUF_MAX_DEFAULT;
    size_t need;

    if (b->failed || __builtin_add_overflow(b->len, n, &need) || need > max || need == SIZE_MAX) {
        b->failed = true;
        return false;
    }
    if (need < b->cap)
        return true;

    size_t cap = b->cap <= max / 2 ? b->cap * 2 : max;
    cap = MAX(cap, MAX(need + 1, (size_t)STRBUF_CAP_MIN));
    char *data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = b->no_memory = true;
        return false;
    }
    data[b->len] = '\0';
    b->data = data;
    b->cap = cap;
    return true;
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
    if (!grow(b, n))
        return;
    if (n != 0)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void strbuf_adds(struct strbuf *b, const char *s)
{
    strbuf_add(b, s, strlen(s));
}

void strbuf_addc(struct strbuf *b, char c)
{
    strbuf_add(b, &c, 1);
}

void strbuf_add_repaired(struct strbuf *b, const char *p, size_t n)
{
    size_t good = 0; /* bytes from p on that are valid and not yet added */

    while (good < n) {
        int len = utf8_sequence(p + good, n - good);

        if (len > 0) {
            good += (size_t)len;
            continue;
        }
        strbuf_add(b, p, good);
        strbuf_adds(b, "\xef\xbf\xbd");
        p += good + 1;
        n -= good + 1;
        good = 0;
    }
    strbuf_add(b, p, good);
}

/* Formats into the free space first; only a text that does not fit is formatted again. */
void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
    size_t room = b->failed ? 0 : b->cap - b->len;
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(room != 0 ? b->data + b->len : NULL, room, fmt, ap);
    va_end(ap);
    if (n < 0 || !grow(b, (size_t)n)) {
        b->failed = true;
        if (b->data != NULL)
            b->data[b->len] = '\0';
        return;
    }
    if ((size_t)n >= room) {
        va_start(ap, fmt);
        (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap); /* measured above */
        va_end(ap);
    }
    b->len += (size_t)n;
}

int strbuf_check(const struct strbuf *b)
{
    return b->no_memory ? -ENOMEM : b->failed ? -EOVERFLOW : 0;
}

char *strbuf_take(struct strbuf *b)
{
    char *text = NULL;

    if (grow(b, 0)) {
        text = b->data;
        b->data = NULL;
    }
    strbuf_done(b);
    return text;
}
