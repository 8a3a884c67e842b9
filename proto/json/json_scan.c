#include "proto/json/json_scan.h"

#include <errno.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/plain.h"

struct scan {
    const char *at, *end;
};

static void skip_blanks(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool take(struct scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static bool take_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0)
        return false;
    s->at += n;
    return true;
}

/* Behind the backslash. */
static bool take_escape(struct scan *s)
{
    if (s->at == s->end)
        return false;
    char c = *s->at++;
    if (c != 'u')
        return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
    for (int i = 0; i < 4; i++, s->at++)
        if (s->at == s->end || str_hex_digit(*s->at) < 0)
            return false;
    return true;
}

static bool take_string(struct scan *s)
{
    if (!take(s, '"'))
        return false;
    while ((s->at = skip_plain(s->at, s->end)) < s->end) {
        unsigned char c = (unsigned char)*s->at;

        if (c >= 0x80) {
            int n = utf8_sequence(s->at, (size_t)(s->end - s->at));
            if (n <= 0)
                return false;
            s->at += n;
            continue;
        }
        s->at++;
        if (c == '"')
            return true;
        if (c < 0x20 || (c == '\\' && !take_escape(s)))
            return false;
    }
    return false;
}

static bool take_digits(struct scan *s)
{
    const char *start = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > start;
}

static bool take_number(struct scan *s)
{
    (void)take(s, '-'); /* may be there */
    if (!take(s, '0') && !take_digits(s))
        return false;
    if (take(s, '.') && !take_digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            (void)take(s, '-'); /* may be there */
        return take_digits(s);
    }
    return true;
}

static bool take_scalar(struct scan *s)
{
    switch (s->at < s->end ? *s->at : '\0') {
    case '"':
        return take_string(s);
    case 't':
        return take_word(s, "true");
    case 'f':
        return take_word(s, "false");
    case 'n':
        return take_word(s, "null");
    default:
        return take_number(s);
    }
}

static bool take_key(struct scan *s)
{
    skip_blanks(s);
    if (!take_string(s))
        return false;
    skip_blanks(s);
    return take(s, ':');
}

/* Which of the open brackets are braces: a bit each, so that no text can exhaust the stack. */
struct nesting {
    size_t depth, max;
    uint8_t braces[JSON_SCAN_DEEP_MAX / 8];
};

static bool is_in_object(const struct nesting *n)
{
    return n->braces[(n->depth - 1) / 8] >> (n->depth - 1) % 8 & 1;
}

static bool open_bracket(struct nesting *n, bool brace)
{
    uint8_t bit = (uint8_t)(1u << n->depth % 8);

    if (n->depth == n->max)
        return false;
    if (brace)
        n->braces[n->depth / 8] |= bit;
    else
        n->braces[n->depth / 8] &= (uint8_t)~bit;
    n->depth++;
    return true;
}

/* Behind a value: closes what ends here, and goes to the next value if there is one. */
static bool take_closing(struct scan *s, struct nesting *n)
{
    while (n->depth > 0) {
        skip_blanks(s);
        if (take(s, ','))
            return !is_in_object(n) || take_key(s);
        if (!take(s, is_in_object(n) ? '}' : ']'))
            return false;
        n->depth--;
    }
    return true;
}

/* The beginning of a value: a scalar, an empty collection (both end it), or the way into a collection. */
static bool take_opening(struct scan *s, struct nesting *n, bool *ret_ended)
{
    bool brace = s->at < s->end && *s->at == '{';

    *ret_ended = true;
    if (!brace && !(s->at < s->end && *s->at == '['))
        return take_scalar(s);
    s->at++;
    skip_blanks(s);
    if (take(s, brace ? '}' : ']'))
        return n->depth < n->max;
    *ret_ended = false;
    return open_bracket(n, brace) && (!brace || take_key(s));
}

static bool take_value(struct scan *s, size_t depth_max)
{
    struct nesting n = {.max = depth_max};
    bool ended;

    do {
        skip_blanks(s);
        if (!take_opening(s, &n, &ended) || (ended && !take_closing(s, &n)))
            return false;
    } while (n.depth > 0);
    return true;
}

static int scan(struct slice text, size_t depth_max, struct slice *ret_value)
{
    struct scan s = {text.ptr, text.ptr + text.len};

    skip_blanks(&s);
    const char *start = s.at;
    bool good = take_value(&s, depth_max);
    const char *end = s.at;
    if (good)
        skip_blanks(&s);
    good = good && s.at == s.end;
    if (ret_value != NULL && good)
        *ret_value = (struct slice){start, (size_t)(end - start)};
    else if (ret_value != NULL)
        *ret_value = (struct slice){s.at, (size_t)(s.end - s.at)};
    return good ? 0 : -EINVAL;
}

int json_scan(struct slice text, struct slice *ret_value)
{
    return scan(text, JSON_SCAN_DEPTH_MAX, ret_value);
}

int json_scan_deep(struct slice text, struct slice *ret_value)
{
    return scan(text, JSON_SCAN_DEEP_MAX, ret_value);
}

/* Goes to the next key: behind the brace, or behind a comma. */
static bool enter(struct slice object, size_t at, struct scan *ret_scan)
{
    *ret_scan = (struct scan){object.ptr + at, object.ptr + object.len};
    skip_blanks(ret_scan);
    if (!take(ret_scan, at == 0 ? '{' : ','))
        return false;
    skip_blanks(ret_scan);
    return !take(ret_scan, '}');
}

bool json_next_member(struct slice object, size_t *at, struct json_member *ret_member)
{
    struct scan s;

    if (!enter(object, *at, &s))
        return false;
    const char *key = s.at + 1;
    if (!take_string(&s))
        return false;
    ret_member->key = (struct slice){key, (size_t)(s.at - 1 - key)};
    skip_blanks(&s);
    (void)take(&s, ':'); /* it is there */
    skip_blanks(&s);
    const char *value = s.at;
    if (!take_value(&s, JSON_SCAN_DEPTH_MAX))
        return false;
    ret_member->value = (struct slice){value, (size_t)(s.at - value)};
    *at = (size_t)(s.at - object.ptr);
    return true;
}

struct slice json_find_member(struct slice object, const char *key)
{
    struct json_member m;
    struct slice found = {0};
    size_t at = 0, n = strlen(key);

    while (json_next_member(object, &at, &m))
        if (m.key.len == n && memcmp(m.key.ptr, key, n) == 0)
            found = m.value;
    return found;
}

bool json_text_is(struct slice value, const char *text)
{
    size_t n = strlen(text);

    return value.len == n + 2 && value.ptr[0] == '"' && memcmp(value.ptr + 1, text, n) == 0;
}

/* The four digits behind a \u, as far as they are those of a half: d8.. to db.. is the first, dc.. to df.. the second. */
static bool is_half(const char *digits, const char *kinds)
{
    return (digits[0] == 'd' || digits[0] == 'D') && strchr(kinds, digits[1]) != NULL;
}

bool json_has_lone_surrogate(struct slice string)
{
    const char *p = string.ptr, *end = string.ptr + string.len;

    while ((p = memchr(p, '\\', (size_t)(end - p))) != NULL) {
        bool surrogate = p[1] == 'u' && is_half(p + 2, "89abABcdefCDEF");
        if (!surrogate) {
            p += 2;
            continue;
        }
        if (!is_half(p + 2, "89abAB") || end - p < 13 || p[6] != '\\' || p[7] != 'u' ||
            !is_half(p + 8, "cdefCDEF"))
            return true;
        p += 12;
    }
    return false;
}
