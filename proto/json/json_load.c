#include "proto/json/json_load.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/json_scan.h"
#include "proto/json/plain.h"

/* In a text that is valid: a closing quote or bracket ahead ends everything but a number or blanks that stand alone. */
struct cursor {
    const char *at, *end;
    bool strict;
    unsigned depth; /* collections that are open */
    struct json_flaw flaw;
};

static json_t *load_value(struct cursor *c);

static json_t *refuse(struct cursor *c, const char *at, const char *what)
{
    c->flaw = (struct json_flaw){at, what};
    return NULL;
}

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && strchr(" \t\n\r", *c->at))
        c->at++;
}

static bool take(struct cursor *c, char wanted)
{
    skip_blanks(c);
    if (*c->at != wanted)
        return false;
    c->at++;
    return true;
}

/* ---- strings ------------------------------------------------------------------------------------- */

/* From behind the opening quote to behind the closing one. */
static struct slice take_raw(struct cursor *c, bool *ret_escapes)
{
    const char *start = ++c->at;

    *ret_escapes = false;
    while (*(c->at = skip_plain(c->at, c->end)) != '"') {
        bool escape = *c->at == '\\';
        *ret_escapes |= escape;
        c->at += escape ? 2 : 1;
    }
    return (struct slice){start, (size_t)(c->at++ - start)};
}

static unsigned hex4(const char *p)
{
    unsigned value = 0;

    for (int i = 0; i < 4; i++)
        value = value << 4 | (unsigned)str_hex_digit(p[i]);
    return value;
}

static bool is_between(unsigned value, unsigned first, unsigned last)
{
    return value >= first && value <= last;
}

/* The four digits at *p, and those of the second half of a pair. */
static unsigned take_unit(const char **p, const char *end)
{
    unsigned value = hex4(*p);

    *p += 4;
    if (is_between(value, 0xD800, 0xDBFF) && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        unsigned low = hex4(*p + 2);
        if (is_between(low, 0xDC00, 0xDFFF)) {
            *p += 6;
            return 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return is_between(value, 0xD800, 0xDFFF) ? 0xFFFD : value;
}

static char *put_utf8(char *o, unsigned c)
{
    if (c < 0x80) {
        *o++ = (char)c;
        return o;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    *o++ = (char)(lead[more] | c >> (6 * more));
    while (more-- > 0)
        *o++ = (char)(0x80 | (c >> (6 * more) & 0x3F));
    return o;
}

/* Behind the backslash. */
static char *put_escape(char *o, const char **p, const char *end)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    char c = *(*p)++;
    if (c == 'u')
        return put_utf8(o, take_unit(p, end));
    const char *found = strchr(from, c);
    *o++ = found ? to[found - from] : c;
    return o;
}

/* No escape is shorter than what it stands for. Returns the length. */
static size_t resolve(struct slice raw, char *out)
{
    const char *p = raw.ptr, *end = raw.ptr + raw.len;
    char *o = out;

    while (p < end) {
        const char *backslash = memchr(p, '\\', (size_t)(end - p));
        size_t n = (size_t)((backslash ? backslash : end) - p);
        memcpy(o, p, n);
        o += n;
        p += n;
        if (p < end) {
            p++;
            o = put_escape(o, &p, end);
        }
    }
    return (size_t)(o - out);
}

/* What a strict reader refuses among the escapes. */
static const char *flaw_of_escapes(struct slice raw)
{
    const char *p = raw.ptr, *end = raw.ptr + raw.len;

    while ((p = memchr(p, '\\', (size_t)(end - p))) != NULL) {
        bool unicode = p[1] == 'u';
        p += 2;
        if (!unicode)
            continue;
        bool half = is_between(hex4(p), 0xD800, 0xDFFF);
        unsigned value = take_unit(&p, end);
        if (value == 0)
            return "a zero byte in a string";
        if (half && value == 0xFFFD)
            return "half a surrogate pair";
    }
    return NULL;
}

static json_t *load_string(struct cursor *c)
{
    bool escapes;
    struct slice raw = take_raw(c, &escapes);
    if (!escapes)
        return json_stringn_nocheck(raw.ptr, raw.len);
    const char *flaw = c->strict ? flaw_of_escapes(raw) : NULL;
    if (flaw != NULL)
        return refuse(c, raw.ptr, flaw);
    char *text = malloc(raw.len);
    json_t *string = text ? json_stringn_nocheck(text, resolve(raw, text)) : NULL;
    free(text);
    return string;
}

/* ---- numbers and words --------------------------------------------------------------------------- */

#define NUMBER_MAX 512 /* digits that say more than a double can hold */

/* Beyond what we can calculate with: a tolerant reader keeps its digits. */
static json_t *big_number(struct cursor *c, const char *start, const char *what)
{
    return c->strict ? refuse(c, start, what)
                     : json_stringn_nocheck(start, (size_t)(c->at - start));
}

static json_t *load_number(struct cursor *c)
{
    char text[NUMBER_MAX];
    const char *start = c->at;

    while (c->at < c->end && *c->at && strchr("+-.eE0123456789", *c->at))
        c->at++;
    size_t n = (size_t)(c->at - start);
    if (n >= sizeof(text))
        return big_number(c, start, "a number of too many digits");
    memcpy(text, start, n);
    text[n] = '\0';
    bool whole = !strpbrk(text, ".eE");
    errno = 0;
    long long integer = strtoll(text, NULL, 10);
    if (whole && errno == 0)
        return json_integer(integer);
    double real = strtod(text, NULL);
    if (!isfinite(real) || (whole && c->strict))
        return big_number(c, start, "a number that is too big");
    return json_real(real);
}

static json_t *load_word(struct cursor *c, size_t len, json_t *value)
{
    c->at += len;
    return value;
}

/* ---- collections --------------------------------------------------------------------------------- */

static bool is_good_name(struct cursor *c, const json_t *object, const json_t *key, const char *at)
{
    const char *name = json_string_value(key);

    if (c->strict && strlen(name) != json_string_length(key))
        (void)refuse(c, at, "a zero byte in a name");
    else if (c->strict && json_object_get(object, name) != NULL)
        (void)refuse(c, at, "a name that stands twice in its object");
    else
        return true;
    return false;
}

static int add_member(json_t *object, struct cursor *c)
{
    skip_blanks(c);
    const char *at = c->at;
    json_t *key = load_string(c);
    bool good = key && is_good_name(c, object, key, at) && take(c, ':');
    json_t *value = good ? load_value(c) : NULL;
    int r = value ? json_object_set_new_nocheck(object, json_string_value(key), value) : -1;
    json_decref(key);
    return r;
}

static int add_item(json_t *array, struct cursor *c)
{
    return json_array_append_new(array, load_value(c)); /* refuses NULL */
}

/* From its opening bracket to behind the closing one. */
static json_t *leave_out(struct cursor *c)
{
    size_t open = 0;
    bool ignored;

    do {
        char at = *c->at;
        open += at == '{' || at == '[';
        open -= at == '}' || at == ']';
        if (at == '"')
            (void)take_raw(c, &ignored); /* which goes behind it */
        else
            c->at++;
    } while (open > 0);
    return json_string(JSON_LOAD_LEFT_OUT);
}

/* Of a strict reader's texts the scanner has refused what is deeper than JSON_SCAN_DEPTH_MAX. */
static json_t *load_collection(struct cursor *c, json_t *(*make)(void), char end,
                               int (*add)(json_t *to, struct cursor *c))
{
    if (c->depth == JSON_SCAN_DEPTH_MAX)
        return leave_out(c);
    json_t *made = make();
    c->depth++;
    c->at++;
    bool more = made && !take(c, end), good = !more;
    while (more && add(made, c) == 0 && !(good = !take(c, ',')))
        ;
    c->depth--;
    if (good)
        return load_word(c, more ? strlen("}") : 0, made);
    json_decref(made);
    return NULL;
}

static json_t *load_value(struct cursor *c)
{
    skip_blanks(c);
    switch (*c->at) {
    case '{':
        return load_collection(c, json_object, '}', add_member);
    case '[':
        return load_collection(c, json_array, ']', add_item);
    case '"':
        return load_string(c);
    case 't':
        return load_word(c, strlen("true"), json_true());
    case 'f':
        return load_word(c, strlen("false"), json_false());
    case 'n':
        return load_word(c, strlen("null"), json_null());
    default:
        return load_number(c);
    }
}

static json_t *load(struct slice text, bool strict, struct json_flaw *ret_flaw)
{
    struct slice value;
    if ((strict ? json_scan(text, &value) : json_scan_deep(text, &value)) < 0) {
        *ret_flaw = (struct json_flaw){value.ptr, value.len > 0 ? "this is not expected here"
                                                                : "the text ends too early"};
        return NULL;
    }
    struct cursor c = {.at = value.ptr, .end = value.ptr + value.len, .strict = strict};
    json_t *json = load_value(&c);
    *ret_flaw = c.flaw;
    return json;
}

json_t *json_load(struct slice text, struct json_flaw *ret_flaw)
{
    return load(text, true, ret_flaw);
}

json_t *json_load_tolerant(struct slice text)
{
    struct json_flaw ignored;
    return load(text, false, &ignored);
}
