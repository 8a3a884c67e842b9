#include "execd/stream/lines.h"

#include <string.h>

void lines_init(struct lines *l, bool strip)
{
    l->strip = strip;
    strbuf_init(&l->carry, LINE_STRIP_MAX + 4 * LINE_KEEP_MAX);
}

void lines_done(struct lines *l)
{
    strbuf_done(&l->carry);
}

bool lines_pending(const struct lines *l)
{
    return l->carry.len > 0;
}

static size_t limit(const struct lines *l)
{
    return l->strip ? LINE_STRIP_MAX : LINE_KEEP_MAX;
}

/* One whole line with its terminator of term bytes. */
static void emit_line(const struct lines *l, const char *p, size_t len, size_t term, lines_emit_fn emit, void *arg)
{
    if (!l->strip)
        emit(arg, p, len);
    else if (len == term)
        emit(arg, "\n", 1);
    else
        emit(arg, p, len - term);
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

/* Offset behind the next terminator in p[0..n), 0 if there is none; *ret_term is its length. `held` says that more
 * may come behind p, so that a "\r" at the end is undecided. */
static size_t find_line(const char *p, size_t n, size_t *ret_term)
{
    const char *lf = memchr(p, '\n', n);
    size_t reach = lf != NULL ? (size_t)(lf - p) : n;
    const char *cr = memchr(p, '\r', reach);

    if (cr != NULL) {
        size_t at = (size_t)(cr - p);
        if (at + 1 == n)
            return 0;
        *ret_term = p[at + 1] == '\n' ? 2 : 1;
        return at + *ret_term;
    }
    *ret_term = 1;
    return lf != NULL ? reach + 1 : 0;
}

/* Emits every whole line of p[0..n); returns how many bytes that were. */
static size_t emit_lines(const struct lines *l, const char *p, size_t n, lines_emit_fn emit, void *arg)
{
    size_t used = 0, term, end;

    while (used < n && (end = find_line(p + used, n - used, &term)) > 0) {
        emit_line(l, p + used, end, term, emit, arg);
        used += end;
    }
    return used;
}

/* Completes the carried line from p; returns how many bytes of p that took. */
static size_t finish_carry(struct lines *l, const char *p, size_t n, lines_emit_fn emit, void *arg)
{
    const char *carry = l->carry.data;
    size_t term, taken;

    if (carry[l->carry.len - 1] == '\r') { /* decided by the first byte of p */
        taken = p[0] == '\n' ? 1 : 0;
        term = taken + 1;
    } else {
        size_t end = find_line(p, n, &term);
        if (end == 0)
            return 0;
        taken = end;
    }
    strbuf_add(&l->carry, p, taken);
    emit_line(l, l->carry.data, l->carry.len, term, emit, arg);
    strbuf_reset(&l->carry);
    return taken;
}

static void carry_rest(struct lines *l, const char *p, size_t n, lines_emit_fn emit, void *arg)
{
    while (n > 0) {
        size_t room = limit(l) > l->carry.len ? limit(l) - l->carry.len : 0;
        size_t part = MIN(n, room);
        strbuf_add(&l->carry, p, part);
        p += part;
        n -= part;
        if (n > 0 || l->carry.len >= limit(l))
            lines_flush(l, false, emit, arg);
    }
}

void lines_feed(struct lines *l, const char *p, size_t n, lines_emit_fn emit, void *arg)
{
    if (n > 0 && l->carry.len > 0) {
        size_t taken = finish_carry(l, p, n, emit, arg);
        p += taken;
        n -= taken;
    }
    if (l->carry.len > 0) { /* still unfinished: no line ends in p */
        carry_rest(l, p, n, emit, arg);
        return;
    }
    const char *last = !l->strip && n >= LINE_FLOOD ? memrchr(p, '\n', n) : NULL;
    size_t used = last != NULL ? (size_t)(last - p) + 1 : 0;
    if (used > 0)
        emit(arg, p, used);
    used += emit_lines(l, p + used, n - used, emit, arg);
    carry_rest(l, p + used, n - used, emit, arg);
}

void lines_flush(struct lines *l, bool last, lines_emit_fn emit, void *arg)
{
    struct strbuf *c = &l->carry;
    char kept[4];
    size_t keep = 0;

    if (c->len == 0)
        return;
    if (last && c->data[c->len - 1] == '\r') {
        emit_line(l, c->data, c->len, 1, emit, arg);
        strbuf_reset(c);
        return;
    }
    if (!last)
        keep = c->data[c->len - 1] == '\r' ? 1 : incomplete_tail(c->data, c->len);
    memcpy(kept, c->data + c->len - keep, keep);
    if (c->len > keep)
        emit(arg, c->data, c->len - keep);
    strbuf_reset(c);
    strbuf_add(c, kept, keep);
}
