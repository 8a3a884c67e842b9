/*
 * The grammar of the env file (contracts/v1.1.md 1.3).
 */
#include "execd/proc/environment.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "execd/proc/env_table.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

/* All values of a file together, after expansion: "$A$A$A" of a long A would multiply. */
#define VALUES_MAX (2U << 20)

struct reader {
    const char *at, *end;
    struct arena *arena;
    size_t budget; /* bytes of values that may still be made */
};

enum entry_kind {
    ENTRY_GOOD,
    ENTRY_BAD,        /* the line is no entry */
    ENTRY_UNFINISHED, /* a quote that does not end */
};

static const char *line_end(const char *at, const char *end)
{
    const char *nl = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    return nl != NULL ? nl : end;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_name_char(char c, bool first)
{
    return c == '_' || isalpha((unsigned char)c) || (!first && isdigit((unsigned char)c));
}

/* Appends the value of the $NAME or ${NAME} at p ('$' itself is at p[-1]) and returns where it ends; a '$' that
 * begins no name stays. */
static const char *expand_name(const char *p, const char *end, struct strbuf *out)
{
    bool braces = p < end && *p == '{';
    const char *name = p + braces, *stop = name;
    while (stop < end && is_name_char(*stop, stop == name))
        stop++;
    size_t len = (size_t)(stop - name);
    char copy[256];
    if (len == 0 || len >= sizeof(copy) || (braces && (stop == end || *stop != '}'))) {
        strbuf_addc(out, '$');
        return p;
    }
    memcpy(copy, name, len);
    copy[len] = '\0';
    const char *value = environment_get(environment_daemon(), copy);
    if (value != NULL)
        strbuf_adds(out, value);
    return stop + braces;
}

static void unescape(char c, struct strbuf *out)
{
    static const char from[] = "nrt\\\"", to[] = "\n\r\t\\\"";
    const char *found = c != '\0' ? strchr(from, c) : NULL;
    if (found == NULL)
        strbuf_addc(out, '\\'); /* no escape of the grammar: both characters stay */
    strbuf_addc(out, found != NULL ? to[found - from] : c);
}

/* p is behind the opening quote. Returns the place behind the closing one, NULL if there is none. */
static const char *read_double(const char *p, const char *end, struct strbuf *out)
{
    while (p < end && *p != '"') {
        char c = *p++;
        if (c == '\\' && p < end && *p != '$')
            unescape(*p++, out);
        else if (c == '$')
            p = expand_name(p, end, out);
        else
            strbuf_addc(out, c);
    }
    return p < end ? p + 1 : NULL;
}

static const char *read_single(const char *p, const char *end, struct strbuf *out)
{
    const char *close = memchr(p, '\'', (size_t)(end - p));
    if (close == NULL)
        return NULL;
    strbuf_add(out, p, (size_t)(close - p));
    return close + 1;
}

static void read_plain(const char *p, const char *end, struct strbuf *out)
{
    while (end > p && is_blank(end[-1]))
        end--;
    while (p < end) {
        char c = *p++;
        if (c == '$')
            p = expand_name(p, end, out);
        else
            strbuf_addc(out, c);
    }
}

static bool only_blanks(const char *p, const char *end)
{
    while (p < end && is_blank(*p))
        p++;
    return p == end;
}

/* Reads the value at r->at and moves behind its line. */
static enum entry_kind read_value(struct reader *r, struct strbuf *out)
{
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
    char quote = r->at < r->end ? *r->at : '\0';
    if (quote == '"' || quote == '\'') {
        const char *stop = (quote == '"' ? read_double : read_single)(r->at + 1, r->end, out);
        if (stop == NULL)
            return ENTRY_UNFINISHED;
        const char *eol = line_end(stop, r->end);
        if (only_blanks(stop, eol)) {
            r->at = eol;
            return ENTRY_GOOD;
        }
        /* "a"b is a plain value that happens to begin with a quote. */
        strbuf_reset(out);
    }
    const char *eol = line_end(r->at, r->end);
    read_plain(r->at, eol, out);
    r->at = eol;
    return ENTRY_GOOD;
}

/* Finds NAME= at r->at; false (and behind the line) when the line is no entry. */
static bool read_name(struct reader *r, struct slice *ret_name)
{
    const char *eol = line_end(r->at, r->end);
    const char *eq = memchr(r->at, '=', (size_t)(eol - r->at));
    const char *stop = eq != NULL ? eq : r->at;
    while (stop > r->at && is_blank(stop[-1]))
        stop--;
    *ret_name = (struct slice){r->at, (size_t)(stop - r->at)};
    r->at = eq != NULL ? eq + 1 : eol;
    bool good = ret_name->len > 0;
    for (size_t i = 0; i < ret_name->len; i++)
        good = good && !is_blank(ret_name->ptr[i]) && ret_name->ptr[i] != '\0';
    if (!good)
        r->at = eol;
    return good;
}

static int read_entry(struct reader *r, struct env_table *table, enum entry_kind *ret_kind)
{
    struct slice name;
    *ret_kind = ENTRY_BAD;
    if (!read_name(r, &name))
        return 0;
    cleanup_strbuf struct strbuf value;
    strbuf_init(&value, r->budget + 1);
    enum entry_kind kind = read_value(r, &value);
    if (kind != ENTRY_GOOD) {
        *ret_kind = kind;
        return 0;
    }
    if (strbuf_check(&value) < 0 || value.len > r->budget ||
        (value.len > 0 && memchr(value.data, '\0', value.len) != NULL))
        return 0;
    r->budget -= value.len;
    char *name_copy = arena_strndup(r->arena, name.ptr, name.len);
    char *value_copy = arena_strndup(r->arena, value.len > 0 ? value.data : "", value.len);
    if (name_copy == NULL || value_copy == NULL)
        return -ENOMEM;
    int result = env_table_set(table, name_copy, name.len, value_copy);
    if (result == 0)
        *ret_kind = ENTRY_GOOD;
    return result == -E2BIG ? 0 : result;
}

static int to_map(const struct env_table *table, struct arena *arena, struct jmap *ret_map)
{
    struct jpair *items = NULL;
    if (table->n > 0 && (items = arena_alloc(arena, table->n * sizeof(*items))) == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < table->n; i++)
        items[i] = (struct jpair){.key = table->entries[i].name, .value = table->entries[i].value};
    *ret_map = (struct jmap){.items = items, .n = table->n};
    return 0;
}

int environment_parse_file(struct arena *arena, const char *text, size_t len, struct jmap *ret_map,
                           size_t *ret_bad_lines)
{
    struct reader r = {.at = text, .end = text + len, .arena = arena, .budget = VALUES_MAX};
    struct env_table table;
    size_t bad_lines = 0;
    env_table_init(&table, arena);
    while (r.at < r.end) {
        enum entry_kind kind;
        if (is_blank(*r.at) || *r.at == '\n') {
            r.at++;
            continue;
        }
        if (*r.at == '#') {
            r.at = line_end(r.at, r.end);
            continue;
        }
        int result = read_entry(&r, &table, &kind);
        if (result < 0)
            return result;
        if (kind == ENTRY_UNFINISHED)
            break;
        bad_lines += kind == ENTRY_BAD;
    }
    if (ret_bad_lines != NULL)
        *ret_bad_lines = bad_lines;
    return to_map(&table, arena, ret_map);
}
