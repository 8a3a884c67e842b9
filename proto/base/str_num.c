#include "proto/base/str.h"

#include <errno.h>
#include <string.h>

#define US_PER_MS UINT64_C(1000)
#define US_PER_S UINT64_C(1000000)

/* mantissa / 10^places; exact, whatever the text says. */
struct decimal {
    uint64_t mantissa;
    unsigned places;
};

static const uint64_t pow10_table[] = {
    1u,
    10u,
    100u,
    1000u,
    10000u,
    100000u,
    1000000u,
    10000000u,
    100000000u,
    1000000000u,
    10000000000u,
    100000000000u,
    1000000000000u,
    10000000000000u,
    100000000000000u,
    1000000000000000u,
    10000000000000000u,
    100000000000000000u,
    1000000000000000000u,
    10000000000000000000u,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A run of at least one digit; *s is moved behind it. -ERANGE still moves, so that a malformed tail wins. */
static int scan_digits(const char **s, uint64_t *value)
{
    int r = 0;

    if (!is_digit(**s))
        return -EINVAL;
    for (; is_digit(**s); (*s)++)
        if (__builtin_mul_overflow(*value, 10u, value) ||
            __builtin_add_overflow(*value, (uint64_t)(**s - '0'), value))
            r = -ERANGE;
    return r;
}

/* "12" or "12.5"; trailing zeros of the fraction count for nothing. */
static int scan_decimal(const char **s, struct decimal *ret_decimal)
{
    struct decimal d = {0};
    int r = scan_digits(s, &d.mantissa);

    if (r == -EINVAL || **s != '.') {
        *ret_decimal = d;
        return r;
    }
    const char *fraction = ++*s;
    while (is_digit(**s))
        (*s)++;
    const char *end = *s;
    if (end == fraction)
        return -EINVAL;
    while (end > fraction && end[-1] == '0')
        end--;
    for (const char *p = fraction; p < end; p++)
        if (__builtin_mul_overflow(d.mantissa, 10u, &d.mantissa) ||
            __builtin_add_overflow(d.mantissa, (uint64_t)(*p - '0'), &d.mantissa) ||
            ++d.places >= ARRAY_LEN(pow10_table))
            r = -ERANGE;
    *ret_decimal = d;
    return r;
}

/* d * unit when that is a whole number. */
static int scale_exact(struct decimal d, uint64_t unit, uint64_t *ret_value)
{
    unsigned __int128 product = (unsigned __int128)d.mantissa * unit;
    uint64_t divisor = pow10_table[d.places];

    if (product % divisor != 0)
        return -EINVAL;
    if (product / divisor > UINT64_MAX)
        return -ERANGE;
    *ret_value = (uint64_t)(product / divisor);
    return 0;
}

int str_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int str_to_u64(const char *s, uint64_t *ret_value)
{
    uint64_t value = 0;
    int r = scan_digits(&s, &value);

    if (r == -EINVAL || *s != '\0')
        return -EINVAL;
    if (r == 0)
        *ret_value = value;
    return r;
}

int str_to_i64(const char *s, int64_t *ret_value)
{
    bool negative = *s == '-';
    uint64_t magnitude;
    int r = str_to_u64(s + negative, &magnitude);

    if (r < 0)
        return r;
    if (magnitude > (uint64_t)INT64_MAX + negative)
        return -ERANGE;
    *ret_value = (int64_t)(negative ? 0 - magnitude : magnitude);
    return 0;
}

int str_to_u32(const char *s, uint32_t *ret_value)
{
    uint64_t value;
    int r = str_to_u64(s, &value);

    if (r < 0)
        return r;
    if (value > UINT32_MAX)
        return -ERANGE;
    *ret_value = (uint32_t)value;
    return 0;
}

int str_to_bool(const char *s, bool *ret_value)
{
    static const char *const words[][2] = {
        {"0", "1"}, {"false", "true"}, {"no", "yes"}, {"off", "on"}};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (int value = 0; value < 2; value++)
            if (str_eq_nocase(s, words[i][value])) {
                *ret_value = value != 0;
                return 0;
            }
    return -EINVAL;
}

/* Moves *s behind the unit; its microseconds, 0 when there is none of that name. */
static uint64_t scan_duration_unit(const char **s)
{
    /* "ms" before "m": the first match wins. */
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {{"ms", US_PER_MS},
                 {"us", 1},
                 {"s", US_PER_S},
                 {"m", 60 * US_PER_S},
                 {"h", 3600 * US_PER_S}};

    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_starts(*s, units[i].name)) {
            *s += strlen(units[i].name);
            return units[i].us;
        }
    return 0;
}

/* Counts in microseconds, so that "500us" is refused rather than rounded. */
int str_to_duration_ms(const char *s, int64_t *ret_ms)
{
    uint64_t total = 0;
    bool first = true, too_large = false;

    do {
        struct decimal d;
        uint64_t part = 0;
        int r = scan_decimal(&s, &d);
        if (r == -EINVAL)
            return r;
        bool bare = first && *s == '\0'; /* a plain number counts seconds */
        uint64_t unit = bare ? US_PER_S : scan_duration_unit(&s);
        if (unit == 0)
            return -EINVAL;
        if (r == 0)
            r = scale_exact(d, unit, &part);
        if (r == -EINVAL)
            return r;
        too_large |= r < 0 || __builtin_add_overflow(total, part, &total);
        first = false;
    } while (*s != '\0');

    if (too_large)
        return -ERANGE;
    if (total % US_PER_MS != 0)
        return -EINVAL;
    *ret_ms = (int64_t)(total / US_PER_MS);
    return 0;
}

/* The power of the suffix at s, which must end the text: "", "B", "k", "kB", "Ki", "KiB" ... */
static int byte_unit(const char *s, uint64_t *ret_unit)
{
    static const char letters[] = "kmgtp";
    const char *letter = *s != '\0' ? memchr(letters, *s | 0x20, sizeof(letters) - 1) : NULL;
    uint64_t unit = 1;

    if (letter != NULL) {
        s++;
        bool binary = *s == 'i' || *s == 'I';
        s += binary;
        for (const char *p = letters; p <= letter; p++)
            unit *= binary ? 1024u : 1000u;
    }
    if (*s == 'B' || *s == 'b')
        s++;
    *ret_unit = unit;
    return *s == '\0' ? 0 : -EINVAL;
}

int str_to_bytes(const char *s, uint64_t *ret_bytes)
{
    struct decimal d;
    uint64_t unit;
    int r = scan_decimal(&s, &d);

    if (r == -EINVAL || byte_unit(s, &unit) < 0)
        return -EINVAL;
    return r < 0 ? r : scale_exact(d, unit, ret_bytes);
}

int str_to_millicpu(const char *s, uint64_t *ret_millicpu)
{
    struct decimal d;
    uint64_t value = 0;
    int r = scan_decimal(&s, &d);

    if (r == -EINVAL)
        return r;
    bool milli = *s == 'm';
    if (s[milli] != '\0')
        return -EINVAL;
    if (r == 0)
        r = scale_exact(d, milli ? 1 : 1000, &value);
    if (r < 0)
        return r;
    if (value == 0)
        return -EINVAL;
    *ret_millicpu = value;
    return 0;
}
