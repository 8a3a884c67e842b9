#include "proto/http/multipart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/token.h"
#include "proto/http/uri.h"

#define BOUNDARY_MAX 70
#define PART_HEAD_MAX 8192
#define PADDING_MAX 64 /* blanks between a boundary and its line end */

/*
 * The delimiter is CR LF "--" boundary. A boundary holds no CR, so a failed match can only begin again at a
 * CR: `matched` bytes of the delimiter are all that is ever held back, and they need no buffer.
 *
 * PREAMBLE, DATA ─delimiter→ AFTER ─CR→ AFTER_LF ─LF→ HEAD ─empty line→ DATA
 *                            AFTER ─"--"→ EPILOGUE (the end; everything behind it is ignored)
 * The body begins as if a CR LF had been seen, so a boundary may open it.
 */
enum multipart_state { PREAMBLE, AFTER, AFTER_DASH, AFTER_LF, HEAD, DATA, EPILOGUE, BROKEN };

struct multipart {
    struct multipart_ops ops;
    void *arg; /* borrowed: of ops */
    enum multipart_state state;
    bool in_part; /* the delimiter ends a part, not the preamble */
    unsigned parts, parts_max;
    char delimiter[4 + BOUNDARY_MAX + 1];
    size_t delimiter_len, matched, padding;
    size_t phantom; /* of the matched bytes, how many were never in the body */
    char head[PART_HEAD_MAX + 1];
    size_t head_len, line_len;      /* of the line being read, without its CR */
    char values[PART_HEAD_MAX + 1]; /* decoded parameters of the current part */
};

/* ---- parameters ---------------------------------------------------------------------------------- */

/* A quoted value into out: \" and \\ are escapes, %22 is what browsers write for a quote. NULL: no end. */
static const char *take_quoted(const char *p, char **out)
{
    for (p++; *p && *p != '"'; p++) {
        if (*p == '\\' && (p[1] == '"' || p[1] == '\\')) {
            p++;
        } else if (strncmp(p, "%22", 3) == 0) {
            *(*out)++ = '"';
            p += 2;
            continue;
        }
        *(*out)++ = *p;
    }
    return *p ? p + 1 : NULL;
}

/* The next "; name=value"; *out is where the value is written, and moves behind it. 1, 0 at the end, -EINVAL. */
static int next_param(const char **text, char **out, struct slice *ret_name, const char **ret_value)
{
    const char *p = *text + strspn(*text, " \t");

    if (*p == '\0')
        return 0;
    if (*p++ != ';')
        return -EINVAL;
    p += strspn(p, " \t");
    if (*p == '\0' || *p == ';') { /* "a; ; b" and "a;" */
        *text = p;
        return *p ? next_param(text, out, ret_name, ret_value) : 0;
    }
    ret_name->ptr = p;
    while (token_is_char((unsigned char)*p))
        p++;
    ret_name->len = (size_t)(p - ret_name->ptr);
    if (ret_name->len == 0 || *p++ != '=')
        return -EINVAL;
    *ret_value = *out;
    if (*p == '"') {
        p = take_quoted(p, out);
        if (!p)
            return -EINVAL;
    } else {
        while (*p && *p != ';' && *p != ' ' && *p != '\t')
            *(*out)++ = *p++;
    }
    *(*out)++ = '\0';
    *text = p;
    return 1;
}

/* filename*=UTF-8'lang'percent-encoded (RFC 8187), decoded where it stands; NULL when it is something else. */
static char *decode_extended(char *value)
{
    char *quote = strchr(value, '\'');
    char *text = quote ? strchr(quote + 1, '\'') : NULL;
    ssize_t n;

    if (!text || strncasecmp(value, "utf-8'", 6) != 0)
        return NULL;
    text++;
    n = uri_decode(text, strlen(text), false, text);
    if (n < 0 || !utf8_is_valid(text, (size_t)n))
        return NULL;
    text[n] = '\0';
    return text;
}

/* ---- the boundary -------------------------------------------------------------------------------- */

static bool boundary_is_valid(const char *b)
{
    size_t n = strlen(b);

    if (n == 0 || n > BOUNDARY_MAX || b[n - 1] == ' ')
        return false;
    for (; *b; b++) {
        bool alnum = (*b >= '0' && *b <= '9') || ((*b | 0x20) >= 'a' && (*b | 0x20) <= 'z');

        if (!alnum && !strchr("'()+_,-./:=? ", *b))
            return false;
    }
    return true;
}

static int find_boundary(struct multipart *m, const char *content_type, struct err *err)
{
    static const char type[] = "multipart/form-data";
    const char *value = NULL, *text;
    char *out = m->values;
    struct slice name;
    int r;

    if (!content_type || strncasecmp(content_type, type, sizeof(type) - 1) != 0)
        return err_set(err, ERR_INVALID_FILE, EINVAL,
                       "expected Content-Type: multipart/form-data, got '%.60s'",
                       content_type ? content_type : "");
    if (strlen(content_type) > PART_HEAD_MAX)
        return err_set(err, ERR_INVALID_FILE, EINVAL, "the Content-Type is too long");
    text = content_type + sizeof(type) - 1;
    while ((r = next_param(&text, &out, &name, &value)) == 1) {
        if (!token_eq(name, "boundary"))
            continue;
        if (!boundary_is_valid(value))
            return err_set(err, ERR_INVALID_FILE, EINVAL,
                           "the multipart boundary must be 1 to 70 characters");
        memcpy(m->delimiter, "\r\n--", 4);
        m->delimiter_len = 4 + strlen(value);
        memcpy(m->delimiter + 4, value, strlen(value) + 1);
        return 0;
    }
    return err_set(err, ERR_INVALID_FILE, EINVAL,
                   r < 0 ? "the Content-Type is malformed"
                         : "the Content-Type names no multipart boundary");
}

int multipart_new(const char *content_type, unsigned parts_max, const struct multipart_ops *ops,
                  void *arg, struct multipart **ret_parser, struct err *err)
{
    struct multipart *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a multipart parser");
    r = find_boundary(m, content_type, err);
    if (r < 0) {
        free(m);
        return r;
    }
    m->ops = *ops;
    m->arg = arg;
    m->parts_max = parts_max;
    m->matched = m->phantom = 2;
    *ret_parser = m;
    return 0;
}

void multipart_free(struct multipart *m)
{
    free(m);
}

/* ---- part heads ---------------------------------------------------------------------------------- */

static int broken(struct multipart *m, struct err *err, const char *what)
{
    m->state = BROKEN;
    return err_set(err, ERR_INVALID_FILE, EINVAL, "malformed multipart body: %s", what);
}

static int read_disposition(struct multipart *m, const char *value, char **out,
                            struct multipart_part *part)
{
    const char *text = value + strcspn(value, ";");
    const char *param = NULL;
    bool extended = false;
    struct slice name;
    int r;

    while ((r = next_param(&text, out, &name, &param)) == 1) {
        char *decoded;

        if (token_eq(name, "name")) {
            part->name = param;
        } else if (token_eq(name, "filename") && !extended) {
            part->filename = param;
        } else if (token_eq(name, "filename*")) {
            decoded = decode_extended(m->values + (param - m->values));
            if (decoded)
                part->filename = decoded;
            extended = decoded != NULL;
        }
    }
    return r;
}

static int read_field(struct multipart *m, char *line, char **out, struct multipart_part *part)
{
    char *colon = strchr(line, ':');
    char *value = colon ? colon + 1 + strspn(colon + 1, " \t") : NULL;

    for (const char *p = line; colon && p < colon; p++) {
        if (!token_is_char((unsigned char)*p))
            return -EINVAL;
    }
    if (!colon || colon == line)
        return -EINVAL;
    *colon = '\0';
    if (strcasecmp(line, "Content-Disposition") == 0)
        return read_disposition(m, value, out, part);
    if (strcasecmp(line, "Content-Type") == 0)
        part->type = value;
    return 0;
}

/* m->head holds whole lines, each ended by NUL instead of CR LF. Values never outgrow the lines they come
 * from, so m->values is large enough. */
static int begin_part(struct multipart *m, struct err *err)
{
    struct multipart_part part = {.name = "", .type = ""};
    char *out = m->values, *line = m->head;

    if (++m->parts > m->parts_max)
        return broken(m, err, "too many parts");
    while (line < m->head + m->head_len) {
        size_t len = strlen(line);

        if (read_field(m, line, &out, &part) < 0)
            return broken(m, err, "a part's head is not valid");
        line += len + 1;
    }
    m->state = DATA;
    m->in_part = true;
    m->matched = m->phantom =
        2; /* the empty line's CR LF may belong to a delimiter: a part without data */
    return m->ops.on_part(m->arg, &part, err);
}

/* One byte of a part's head; lines end with CR LF only. */
static int take_head(struct multipart *m, char c, struct err *err)
{
    bool after_cr = m->head_len > 0 && m->head[m->head_len - 1] == '\r';

    if (after_cr) {
        if (c != '\n')
            return broken(m, err, "CR without LF in a part's head");
        m->head_len--;
        if (m->line_len == 0)
            return begin_part(m, err);
        m->head[m->head_len++] = '\0';
        m->line_len = 0;
        return 0;
    }
    if (c == '\r') {
        if (m->head_len == PART_HEAD_MAX)
            return broken(m, err, "a part's head is too large");
    } else if (!token_is_value((unsigned char)c)) {
        return broken(m, err, "a control byte in a part's head");
    } else if (m->head_len >= PART_HEAD_MAX - 1) {
        return broken(m, err, "a part's head is too large");
    } else {
        m->line_len++;
    }
    m->head[m->head_len++] = c;
    return 0;
}

/* ---- data ---------------------------------------------------------------------------------------- */

static int emit(struct multipart *m, const char *p, size_t n, struct err *err)
{
    return n > 0 && m->in_part ? m->ops.on_data(m->arg, p, n, err) : 0;
}

/* The held-back bytes were data after all. */
static int release(struct multipart *m, size_t n, struct err *err)
{
    size_t skip = m->phantom;

    m->matched = m->phantom = 0;
    return emit(m, m->delimiter + skip, n - skip, err);
}

/* How many bytes at the end of p[0..n) may be the beginning of a delimiter. */
static size_t held_back(const struct multipart *m, const char *p, size_t n)
{
    size_t window = MIN(n, m->delimiter_len - 1);
    const char *end = p + n, *cr = end - window;

    while ((cr = memchr(cr, '\r', (size_t)(end - cr))) != NULL) {
        if (memcmp(cr, m->delimiter, (size_t)(end - cr)) == 0)
            return (size_t)(end - cr);
        cr++;
    }
    return 0;
}

static void delimiter_ended(struct multipart *m)
{
    m->matched = m->delimiter_len;
    m->state = AFTER;
    m->padding = 0;
}

/* A run with nothing held back: one piece up to the delimiter, or up to what may become one. Large pieces matter:
 * each becomes a write. */
static int take_run(struct multipart *m, const char *p, size_t n, size_t *ret_used, struct err *err)
{
    const char *hit = memmem(p, n, m->delimiter, m->delimiter_len);
    size_t held = hit != NULL ? 0 : held_back(m, p, n);
    int r = emit(m, p, hit != NULL ? (size_t)(hit - p) : n - held, err);

    if (hit != NULL)
        delimiter_ended(m);
    else
        m->matched = held;
    *ret_used = hit != NULL ? (size_t)(hit - p) + m->delimiter_len : n;
    return r;
}

/* Eats a run of data up to and with a delimiter; *ret_used bytes. */
static int take_data(struct multipart *m, const char *p, size_t n, size_t *ret_used,
                     struct err *err)
{
    size_t i = 0;

    while (i < n && m->matched > 0) { /* goes on with what an earlier run held back */
        if (p[i] != m->delimiter[m->matched]) {
            int r = release(m, m->matched, err);
            if (r < 0)
                return r;
            break;
        }
        i++;
        if (++m->matched == m->delimiter_len) {
            delimiter_ended(m);
            break;
        }
    }
    *ret_used = i;
    if (i > 0 || m->matched > 0)
        return 0;
    return take_run(m, p, n, ret_used, err);
}

/* Behind a delimiter: "--", or blanks and CR LF. A longer word is not this boundary but data. */
static int take_after(struct multipart *m, char c, size_t *ret_used, struct err *err)
{
    size_t held = m->delimiter_len;

    *ret_used = 1;
    if (m->state == AFTER_DASH) {
        if (c == '-') {
            m->state = EPILOGUE;
            return m->in_part ? m->ops.on_part_end(m->arg, err) : 0;
        }
    } else if (m->state == AFTER_LF) {
        if (c != '\n')
            return broken(m, err, "CR without LF behind a boundary");
        m->state = HEAD;
        m->head_len = m->line_len = 0;
        return m->in_part ? m->ops.on_part_end(m->arg, err) : 0;
    } else if (c == '\r') {
        m->state = AFTER_LF;
        return 0;
    } else if (c == ' ' || c == '\t') {
        return ++m->padding <= PADDING_MAX ? 0
                                           : broken(m, err, "too many blanks behind a boundary");
    } else if (m->padding > 0) {
        return broken(m, err, "text behind a boundary");
    } else if (c == '-') {
        m->state = AFTER_DASH;
        return 0;
    }
    *ret_used = 0; /* this byte is looked at again as data */
    if (m->state == AFTER_DASH) {
        int r = release(m, held, err);

        m->state = m->in_part ? DATA : PREAMBLE;
        return r < 0 ? r : emit(m, "-", 1, err);
    }
    m->state = m->in_part ? DATA : PREAMBLE;
    return release(m, held, err);
}

int multipart_feed(struct multipart *m, const char *p, size_t n, struct err *err)
{
    size_t i = 0;

    while (i < n) {
        size_t used = 1;
        int r = 0;

        switch (m->state) {
        case PREAMBLE:
        case DATA:
            r = take_data(m, p + i, n - i, &used, err);
            break;
        case AFTER:
        case AFTER_DASH:
        case AFTER_LF:
            r = take_after(m, p[i], &used, err);
            break;
        case HEAD:
            r = take_head(m, p[i], err);
            break;
        case EPILOGUE:
            return 0;
        case BROKEN:
            return err_set(err, ERR_INVALID_FILE, EINVAL, "malformed multipart body");
        }
        if (r < 0) {
            m->state = BROKEN;
            return r;
        }
        i += used;
    }
    return 0;
}

int multipart_finish(struct multipart *m, struct err *err)
{
    if (m->state == EPILOGUE)
        return 0;
    return broken(m, err,
                  m->parts == 0 && !m->in_part ? "the boundary never appears"
                                               : "the final boundary is missing");
}
