#include "proto/http/chunked.h"

#include <string.h>

#include "proto/base/str.h"
#include "proto/http/token.h"

#define EXTENSION_MAX 256
#define TRAILER_MAX 8192
#define DIGITS_MAX 15 /* 60 bits: no sum of them overflows */

/*
 * SIZE ─CR→ SIZE_LF ─LF→ DATA ─all→ DATA_CR ─CR→ DATA_LF ─LF→ SIZE
 * SIZE ─;→ EXT ─CR→ SIZE_LF          size 0: SIZE_LF ─LF→ TRAILER
 * TRAILER ─CR→ END_LF ─LF→ end       TRAILER ─token→ NAME ─:→ VALUE ─CR→ VALUE_LF ─LF→ TRAILER
 */
enum chunked_state {
    SIZE,
    EXT,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER,
    NAME,
    VALUE,
    VALUE_LF,
    END_LF,
    DONE
};

void chunked_init(struct chunked *c)
{
    memset(c, 0, sizeof(*c));
}

static bool take_size(struct chunked *c, unsigned char byte)
{
    int value = str_hex_digit((char)byte);

    if (value >= 0) {
        c->left = c->left << 4 | (unsigned)value;
        return ++c->digits <= DIGITS_MAX;
    }
    c->state = byte == '\r' ? SIZE_LF : EXT;
    c->overhead = 0;
    return c->digits > 0 && (byte == '\r' || byte == ';');
}

static bool take_trailer(struct chunked *c, unsigned char byte)
{
    if (++c->overhead > TRAILER_MAX)
        return false;
    if (c->trailers != NULL)
        strbuf_addc(c->trailers, (char)byte);
    switch ((enum chunked_state)c->state) {
    case TRAILER:
        c->state = byte == '\r' ? END_LF : NAME;
        return byte == '\r' || token_is_char(byte);
    case NAME:
        c->state = byte == ':' ? VALUE : NAME;
        return byte == ':' || token_is_char(byte);
    case VALUE:
        c->state = byte == '\r' ? VALUE_LF : VALUE;
        return byte == '\r' || token_is_value(byte);
    case VALUE_LF:
        c->state = TRAILER;
        return byte == '\n';
    case END_LF:
        c->state = DONE;
        return byte == '\n';
    default:
        return false;
    }
}

/* One byte of framing; false = malformed. */
static bool take(struct chunked *c, unsigned char byte)
{
    switch ((enum chunked_state)c->state) {
    case SIZE:
        return take_size(c, byte);
    case EXT:
        if (byte == '\r')
            c->state = SIZE_LF;
        return byte == '\r' || (token_is_value(byte) && ++c->overhead <= EXTENSION_MAX);
    case SIZE_LF:
        c->state = c->left > 0 ? DATA : TRAILER;
        c->overhead = 0;
        return byte == '\n';
    case DATA_CR:
        c->state = DATA_LF;
        return byte == '\r';
    case DATA_LF:
        c->state = SIZE;
        c->digits = 0;
        return byte == '\n';
    default:
        return take_trailer(c, byte);
    }
}

enum chunked_result chunked_next(struct chunked *c, const char *p, size_t n, size_t *ret_used,
                                 struct slice *ret_data)
{
    size_t i = 0;

    while (i < n && c->state != DONE) {
        if (c->state == DATA) {
            size_t run = n - i < c->left ? n - i : (size_t)c->left;

            *ret_data = (struct slice){p + i, run};
            *ret_used = i + run;
            c->left -= run;
            if (c->left == 0)
                c->state = DATA_CR;
            return CHUNKED_DATA;
        }
        if (!take(c, (unsigned char)p[i++]))
            return CHUNKED_BAD;
    }
    *ret_used = i;
    return c->state == DONE ? CHUNKED_END : CHUNKED_MORE;
}
