#include "execd/stream/lines.h"

#include <string.h>

/* Runs are looked at in parts of this size, which bounds the carry. */
#define RUN_MAX (256 * 1024)
#define IDLE_KEEP 1024 /* carry memory that an idle stream may hold on to */

/* Where output bytes are looked for lines. `lf` is the first "\n" not before `at`, or `end`: found once, however many
 * "\r" stand before it, so that progress bars cost no more than lines. */
struct scan {
    const char *at, *end, *lf;
};

struct out {
    struct lines *lines;
    lines_emit_fn emit;
    void *arg;
};

void lines_init(struct lines *l, bool strip)
{
    *l = (struct lines){.strip = strip};
    strbuf_init(&l->carry, LINE_STRIP_MAX + 2 * RUN_MAX);
}

void lines_done(struct lines *l)
{
    strbuf_done(&l->carry);
}

size_t lines_pending(const struct lines *l)
{
    return l->carry.len;
}

void lines_trim(struct lines *l)
{
    if (l->carry.len == 0 && l->carry.cap > IDLE_KEEP)
        strbuf_done(&l->carry);
}

static size_t limit(const struct lines *l)
{
    return l->strip ? LINE_STRIP_MAX : LINE_KEEP_MAX;
}

static void put(const struct out *o, const char *p, size_t len, size_t taken)
{
    o->lines->n_pieces++;
    o->emit(o->arg, p, len, taken);
}

/* One whole line with its terminator of term bytes. */
static void put_line(const struct out *o, const char *p, size_t len, size_t term)
{
    if (!o->lines->strip)
        put(o, p, len, len);
    else if (len == term)
        put(o, "\n", 1, len);
    else
        put(o, p, len - term, len);
}

/* Bytes at the end that may be the beginning of a longer UTF-8 sequence. */
static size_t incomplete_tail(const char *p, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char c = (unsigned char)p[len - back];
        if ((c & 0xc0) == 0x80)
            continue;
        return c >= 0xc0 && utf8_sequence(p + len - back, back) < 0 ? back : 0;
    }
    return 0;
}

static struct scan scan_begin(const char *p, size_t n)
{
    return (struct scan){.at = p, .end = p + n, .lf = p};
}

/* Length of the next line with its terminator, 0 when none ends. Keep: a "\r" at the very end is undecided. */
static size_t next_line(struct scan *s, bool strip, size_t *ret_term)
{
    if (s->lf == s->end) {
        /* no "\n" is left */
    } else if (s->lf <= s->at) {
        const char *lf = memchr(s->at, '\n', (size_t)(s->end - s->at));
        s->lf = lf != NULL ? lf : s->end;
    }
    const char *cr = memchr(s->at, '\r', (size_t)(s->lf - s->at));
    if (cr == NULL) {
        *ret_term = 1;
        return s->lf < s->end ? (size_t)(s->lf - s->at) + 1 : 0;
    }
    if (cr + 1 == s->end && !strip)
        return 0;
    *ret_term = cr + 1 < s->end && cr[1] == '\n' ? 2 : 1;
    return (size_t)(cr - s->at) + *ret_term;
}

static void put_lines(const struct out *o, struct scan *s)
{
    size_t len, term;

    while (s->at < s->end && (len = next_line(s, o->lines->strip, &term)) > 0) {
        put_line(o, s->at, len, term);
        s->at += len;
    }
}

/* A flood in keep mode: everything up to the last line end that is decided. */
static void put_block(const struct out *o, struct scan *s)
{
    size_t n = (size_t)(s->end - s->at);

    if (o->lines->strip || n < LINE_FLOOD)
        return;
    const char *lf = memrchr(s->at, '\n', n);
    const char *after = lf != NULL ? lf + 1 : s->at;
    const char *cr = memrchr(after, '\r', (size_t)(s->end - after));
    if (cr != NULL && cr + 1 == s->end)
        cr = cr > after ? memrchr(after, '\r', (size_t)(cr - after)) : NULL;
    if (cr != NULL)
        after = cr + 1;
    if (after > s->at)
        put(o, s->at, (size_t)(after - s->at), (size_t)(after - s->at));
    s->at = after;
}

/* Emits the carried bytes but for the last `keep`. */
static void put_carry(const struct out *o, size_t keep)
{
    struct strbuf *carry = &o->lines->carry;
    size_t len = carry->len - keep;

    if (len == 0)
        return;
    put(o, carry->data, len, len);
    memmove(carry->data, carry->data + len, keep);
    carry->len = keep;
    carry->data[keep] = '\0';
}

/* Without memory the carried bytes leave early: nothing is lost, a line is cut in two. */
static bool carry_add(const struct out *o, const char *p, size_t n)
{
    strbuf_add(&o->lines->carry, p, n);
    if (strbuf_check(&o->lines->carry) == 0)
        return true;
    put_carry(o, 0);
    strbuf_reset(&o->lines->carry);
    return false;
}

/* The carried line ends in s, if it does. */
static void finish_carry(const struct out *o, struct scan *s)
{
    struct strbuf *carry = &o->lines->carry;
    size_t term, taken;

    if (carry->data[carry->len - 1] == '\r') { /* keep: decided by the next byte */
        taken = *s->at == '\n' ? 1 : 0;
        term = taken + 1;
    } else {
        taken = next_line(s, o->lines->strip, &term);
        if (taken == 0)
            return;
    }
    if (!carry_add(o, s->at, taken))
        return;
    s->at += taken;
    put_line(o, carry->data, carry->len, term);
    strbuf_reset(carry);
}

static size_t undecided(const char *p, size_t len)
{
    return p[len - 1] == '\r' ? 1 : incomplete_tail(p, len);
}

/* What is left has no line end. Long lines leave in parts, without a detour where they come in large runs. */
static void carry_rest(const struct out *o, struct scan *s)
{
    struct strbuf *carry = &o->lines->carry;
    size_t max = limit(o->lines);

    while (s->at < s->end) {
        size_t n = (size_t)(s->end - s->at);
        if (carry->len == 0 && n >= max) {
            size_t part = max - undecided(s->at, max);
            put(o, s->at, part, part);
            s->at += part;
            continue;
        }
        size_t part = MIN(n, max - carry->len);
        if (!carry_add(o, s->at, part))
            put(o, s->at, part, part);
        s->at += part;
        if (carry->len == max)
            put_carry(o, undecided(carry->data, carry->len));
    }
}

static void feed_run(const struct out *o, const char *p, size_t n)
{
    struct scan s = scan_begin(p, n);

    if (o->lines->after_cr && *s.at == '\n')
        s.at++;
    o->lines->after_cr = o->lines->strip && p[n - 1] == '\r';
    if (s.at < s.end && o->lines->carry.len > 0)
        finish_carry(o, &s);
    if (o->lines->carry.len == 0) {
        put_block(o, &s);
        put_lines(o, &s);
    }
    carry_rest(o, &s);
}

void lines_feed(struct lines *l, const char *p, size_t n, lines_emit_fn emit, void *arg)
{
    const struct out o = {l, emit, arg};

    for (size_t at = 0; at < n; at += RUN_MAX)
        feed_run(&o, p + at, MIN(n - at, (size_t)RUN_MAX));
}

void lines_flush(struct lines *l, bool last, lines_emit_fn emit, void *arg)
{
    const struct out o = {l, emit, arg};
    struct strbuf *carry = &l->carry;

    if (carry->len == 0)
        return;
    if (carry->data[carry->len - 1] == '\r') { /* keep: strip never carries one */
        put_line(&o, carry->data, carry->len, 1);
        strbuf_reset(carry);
        return;
    }
    put_carry(&o, last ? 0 : incomplete_tail(carry->data, carry->len));
}
