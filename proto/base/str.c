#include "proto/base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool str_eq_nocase(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits from *s up to the first other character. */
static int take_digits(const char **s, uint64_t *ret)
{
    const char *p = *s;
    uint64_t value = 0;

    if (!is_digit(*p))
        return -EINVAL;
    for (; is_digit(*p); p++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return -ERANGE;
    }
    *s = p;
    *ret = value;
    return 0;
}

int str_to_u64(const char *s, uint64_t *ret_value)
{
    uint64_t value;
    int rc = take_digits(&s, &value);

    if (rc < 0 || *s != '\0')
        return rc < 0 ? rc : -EINVAL;
    *ret_value = value;
    return 0;
}

int str_to_i64(const char *s, int64_t *ret_value)
{
    bool negative = *s == '-';
    uint64_t value;
    int rc = str_to_u64(negative ? s + 1 : s, &value);

    if (rc < 0)
        return rc;
    if (value > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return -ERANGE;
    *ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
    return 0;
}

int str_to_u32(const char *s, uint32_t *ret_value)
{
    uint64_t value;
    int rc = str_to_u64(s, &value);

    if (rc < 0 || value > UINT32_MAX)
        return rc < 0 ? rc : -ERANGE;
    *ret_value = (uint32_t)value;
    return 0;
}

int str_to_bool(const char *s, bool *ret_value)
{
    static const char *const words[][2] = {{"0", "1"}, {"false", "true"}, {"no", "yes"}, {"off", "on"}};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        for (size_t v = 0; v < 2; v++) {
            if (strcasecmp(s, words[i][v]) == 0) {
                *ret_value = v == 1;
                return 0;
            }
        }
    }
    return -EINVAL;
}

/* Digits behind the point as numerator over denominator (a power of ten ≤ 10^9). */
static int take_fraction(const char **s, uint64_t *ret_num, uint64_t *ret_den)
{
    const char *p = *s;
    uint64_t num = 0, den = 1;

    if (*p == '.') {
        p++;
        if (!is_digit(*p))
            return -EINVAL;
        for (; is_digit(*p); p++) {
            if (den >= 1000000000)
                return -ERANGE;
            num = num * 10 + (uint64_t)(*p - '0');
            den *= 10;
        }
    }
    *s = p;
    *ret_num = num;
    *ret_den = den;
    return 0;
}

/* whole.num/den × unit, exact. */
static int scale(uint64_t whole, uint64_t num, uint64_t den, uint64_t unit, uint64_t *ret)
{
    uint64_t value;
    unsigned __int128 part = (unsigned __int128)num * unit;

    if (part % den != 0)
        return -EINVAL;
    if (__builtin_mul_overflow(whole, unit, &value) ||
        __builtin_add_overflow(value, (uint64_t)(part / den), &value))
        return -ERANGE;
    *ret = value;
    return 0;
}

int str_to_duration_ms(const char *s, int64_t *ret_ms)
{
    /* In microseconds, so that "500us" is refused rather than rounded; "ms" before "m". */
    static const struct {
        const char *suffix;
        uint64_t us;
    } units[] = {{"ms", 1000}, {"h", 3600000000}, {"m", 60000000}, {"s", 1000000}, {"us", 1}};
    uint64_t total = 0;
    bool bare = true;

    if (*s == '\0')
        return -EINVAL;
    while (*s != '\0') {
        uint64_t whole, num, den, part, unit = 0;
        int rc = take_digits(&s, &whole);
        if (rc == 0)
            rc = take_fraction(&s, &num, &den);
        if (rc < 0)
            return rc;
        if (*s == '\0' && bare)
            unit = 1000000;
        for (size_t i = 0; unit == 0 && i < ARRAY_LEN(units); i++) {
            if (str_starts(s, units[i].suffix)) {
                unit = units[i].us;
                s += strlen(units[i].suffix);
            }
        }
        bare = false;
        if (unit == 0)
            return -EINVAL;
        rc = scale(whole, num, den, unit, &part);
        if (rc < 0 || __builtin_add_overflow(total, part, &total))
            return rc < 0 ? rc : -ERANGE;
    }
    if (total % 1000 != 0)
        return -EINVAL;
    if (total / 1000 > INT64_MAX / 1000)
        return -ERANGE;
    *ret_ms = (int64_t)(total / 1000);
    return 0;
}

static int byte_unit(const char *suffix, uint64_t *ret_unit)
{
    static const char letters[] = "kmgtp";
    const char *letter;
    size_t len = strlen(suffix);

    if (len == 0 || strcasecmp(suffix, "b") == 0) {
        *ret_unit = 1;
        return 0;
    }
    letter = memchr(letters, suffix[0] | 0x20, sizeof(letters) - 1);
    if (letter == NULL)
        return -EINVAL;
    bool binary = len >= 2 && (suffix[1] | 0x20) == 'i';
    const char *rest = suffix + (binary ? 2 : 1);
    if (*rest != '\0' && strcasecmp(rest, "b") != 0)
        return -EINVAL;
    uint64_t unit = 1;
    for (ptrdiff_t i = 0; i <= letter - letters; i++)
        unit *= binary ? 1024 : 1000;
    *ret_unit = unit;
    return 0;
}

int str_to_bytes(const char *s, uint64_t *ret_bytes)
{
    uint64_t whole, num = 0, den = 1, unit = 1;
    int rc = take_digits(&s, &whole);

    if (rc == 0)
        rc = take_fraction(&s, &num, &den);
    if (rc == 0)
        rc = byte_unit(s, &unit);
    return rc < 0 ? rc : scale(whole, num, den, unit, ret_bytes);
}

int str_to_millicpu(const char *s, uint64_t *ret_millicpu)
{
    uint64_t whole, num, den, value;
    int rc = take_digits(&s, &whole);

    if (rc == 0)
        rc = take_fraction(&s, &num, &den);
    if (rc < 0)
        return rc;
    bool milli = strcmp(s, "m") == 0;
    if (!milli && *s != '\0')
        return -EINVAL;
    rc = scale(whole, num, den, milli ? 1 : 1000, &value);
    if (rc < 0)
        return rc;
    if (value == 0)
        return -EINVAL;
    *ret_millicpu = value;
    return 0;
}

static bool is_continuation(const char *p, size_t i)
{
    return ((unsigned char)p[i] & 0xc0) == 0x80;
}

int utf8_sequence(const char *p, size_t len)
{
    unsigned char c = (unsigned char)p[0];
    size_t want;

    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    want = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (len >= 2) {
        unsigned char d = (unsigned char)p[1];
        /* Overlong forms, surrogates and values above U+10FFFF show in the second byte. */
        if (!is_continuation(p, 1) || (c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) ||
            (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f))
            return 0;
    }
    for (size_t i = 2; i < want && i < len; i++) {
        if (!is_continuation(p, i))
            return 0;
    }
    return len >= want ? (int)want : -(int)(want - len);
}

bool utf8_is_valid(const char *p, size_t len)
{
    while (len > 0) {
        int n = utf8_sequence(p, len);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

#define STRBUF_MAX_DEFAULT (1024 * 1024)

void strbuf_init(struct strbuf *b, size_t max)
{
    *b = (struct strbuf){.max = max != 0 ? max : STRBUF_MAX_DEFAULT};
}

void strbuf_done(struct strbuf *b)
{
    free(b->data);
    *b = (struct strbuf){.max = b->max};
}

void strbuf_reset(struct strbuf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data != NULL)
        b->data[0] = '\0';
}

static bool reserve(struct strbuf *b, size_t n)
{
    size_t max = b->max != 0 ? b->max : STRBUF_MAX_DEFAULT;

    if (b->failed || n > max || b->len > max - n) {
        b->failed = true;
        return false;
    }
    if (b->cap > b->len + n)
        return true;
    size_t cap = MAX(b->cap + b->cap / 2, b->len + n + 1);
    char *grown = realloc(b->data, MAX(cap, (size_t)64));
    if (grown == NULL) {
        b->failed = true;
        return false;
    }
    b->data = grown;
    b->cap = MAX(cap, (size_t)64);
    return true;
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n > 0)
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

void strbuf_addf(struct strbuf *b, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || !reserve(b, (size_t)n)) {
        b->failed = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
}

int strbuf_check(const struct strbuf *b)
{
    return b->failed ? -EOVERFLOW : 0;
}

char *strbuf_take(struct strbuf *b)
{
    char *text = b->failed ? NULL : b->data != NULL ? b->data : strdup("");

    if (text == NULL)
        free(b->data);
    *b = (struct strbuf){.max = b->max};
    return text;
}
