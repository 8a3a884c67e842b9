#include "proto/http/head_scan.h"

#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/http/token.h"

/*
 * START ─CR→ EMPTY_LF ─LF→ LINE0          (one empty line is skipped)
 * START, LINE0 ─token→ LINE ─CR→ LINE_LF ─LF→ FIELD
 * FIELD ─token→ NAME ─:→ VALUE ─CR→ VALUE_LF ─LF→ FIELD
 * FIELD ─CR→ END_LF ─LF→ done
 */
enum scan_state { START, EMPTY_LF, LINE0, LINE, LINE_LF, FIELD, NAME, VALUE, VALUE_LF, END_LF };

void head_scan_init(struct head_scan *s, bool response, size_t head_max, unsigned fields_max)
{
    memset(s, 0, sizeof(*s));
    s->response = response;
    s->state = response ? LINE0 : START;
    s->line_max = MIN(head_max, (size_t)HEAD_LINE_MAX);
    s->head_max = head_max;
    s->fields_max = fields_max;
}

static int bad(const struct head_scan *s, unsigned char c, struct err *err)
{
    static const char *const where[] = {
        [START] = "at the start of a message",
        [EMPTY_LF] = "after CR",
        [LINE0] = "at the start of a message",
        [LINE] = "in the start line",
        [LINE_LF] = "after CR",
        [FIELD] = "at the start of a field",
        [NAME] = "in a field name",
        [VALUE] = "in a field",
        [VALUE_LF] = "after CR",
        [END_LF] = "after CR",
    };

    return err_set(err, ERR_BAD_REQUEST, EINVAL,
                   "malformed HTTP message: unexpected byte 0x%02x %s", c, where[s->state]);
}

/* Takes one byte; -1 = not allowed here. */
static int next_state(const struct head_scan *s, unsigned char c)
{
    switch ((enum scan_state)s->state) {
    case START:
        if (c == '\r')
            return EMPTY_LF;
        /* fallthrough */
    case LINE0:
        return token_is_char(c) ? LINE : -1;
    case EMPTY_LF:
        return c == '\n' ? LINE0 : -1;
    case LINE:
        if (c == '\r')
            return LINE_LF;
        return (c >= 0x20 && c < 0x7f) || (s->response && (c >= 0x80 || c == '\t')) ? LINE : -1;
    case LINE_LF:
    case VALUE_LF:
        return c == '\n' ? FIELD : -1;
    case FIELD:
        if (c == '\r')
            return END_LF;
        return token_is_char(c) ? NAME : -1;
    case NAME:
        if (c == ':')
            return VALUE;
        return token_is_char(c) ? NAME : -1;
    case VALUE:
        if (c == '\r')
            return VALUE_LF;
        return token_is_value(c) ? VALUE : -1;
    case END_LF:
        return -1;
    }
    return -1;
}

static int check_limits(struct head_scan *s, struct err *err)
{
    if ((s->state == LINE || s->state == LINE_LF) && s->line_len > s->line_max) {
        return s->response
                   ? err_set(err, ERR_HEADERS_TOO_LARGE, E2BIG, "the status line is too long")
                   : err_set(err, ERR_URI_TOO_LONG, E2BIG,
                             "the request line is longer than %zu bytes", s->line_max);
    }
    if (s->total > s->head_max)
        return err_set(err, ERR_HEADERS_TOO_LARGE, E2BIG, "the head is larger than %zu bytes",
                       s->head_max);
    if (s->n_fields > s->fields_max)
        return err_set(err, ERR_HEADERS_TOO_LARGE, E2BIG, "more than %u header fields",
                       s->fields_max);
    return 0;
}

int head_scan_feed(struct head_scan *s, const char *p, size_t n, size_t *ret_used, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        int next, r;

        s->total++;
        if (s->state == END_LF && c == '\n') {
            *ret_used = i + 1;
            return check_limits(s, err) < 0 ? -E2BIG : 1;
        }
        next = next_state(s, c);
        if (next < 0)
            return bad(s, c, err);
        if (s->state == EMPTY_LF)
            s->skip = 2;
        if (next == LINE)
            s->line_len++;
        if (next == NAME && s->state == FIELD)
            s->n_fields++;
        s->state = (unsigned char)next;
        r = check_limits(s, err);
        if (r < 0)
            return r;
    }
    *ret_used = n;
    return 0;
}
