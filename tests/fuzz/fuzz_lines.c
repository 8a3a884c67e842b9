/* The line assembler: every byte is accounted for, keep repeats them, no piece cuts a character that could go on.
 * First byte: bit 0 strip, bit 1 flush now and then. Second byte: seed of the cuts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/stream/lines.h"

struct record {
    struct strbuf text;
    size_t taken;
};

static void record(void *arg, const char *text, size_t len, size_t taken)
{
    struct record *r = arg;

    if (len == 0 || taken == 0)
        abort();
    strbuf_add(&r->text, text, len);
    r->taken += taken;
}

static void check(const struct lines *l, const struct record *r, const char *p, size_t n,
                  size_t swallowed)
{
    if (r->taken + lines_pending(l) + swallowed != n || strbuf_check(&r->text) < 0)
        abort();
    if (!l->strip && r->text.len > 0 && memcmp(r->text.data, p, r->text.len) != 0)
        abort();
    if (l->strip && lines_pending(l) > 0 && memchr(l->carry.data, '\n', l->carry.len) != NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record r = {.taken = 0};
    struct lines l;

    if (size < 2)
        return 0;
    unsigned cut = data[1];
    bool strip = data[0] & 1, flushing = data[0] & 2;
    const char *p = (const char *)data + 2;
    size_t n = size - 2, swallowed = 0, step;
    strbuf_init(&r.text, size + 64);
    lines_init(&l, strip);
    for (size_t at = 0; at < n; at += step) {
        cut = cut * 5 + 3;
        step = MIN((size_t)(cut % 61 + 1), n - at);
        swallowed += l.after_cr && p[at] == '\n';
        lines_feed(&l, p + at, step, record, &r);
        check(&l, &r, p, at + step, swallowed);
        if (flushing && cut % 3 == 0)
            lines_flush(&l, false, record, &r);
        lines_trim(&l);
    }
    lines_flush(&l, true, record, &r);
    if (lines_pending(&l) != 0)
        abort();
    check(&l, &r, p, n, swallowed);
    lines_done(&l);
    strbuf_done(&r.text);
    return 0;
}
