#include "proto/http/range.h"

#include <string.h>
#include <strings.h>

#include "proto/http/token.h"

#define RANGES_MAX 16

/* Digits to a number, saturating: anything beyond 64 bits is beyond every file. false: no digit. */
static bool take_number(const char **p, const char *end, uint64_t *ret_value)
{
    const char *start = *p;
    uint64_t value = 0;

    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(**p - '0'), &value))
            value = UINT64_MAX;
    }
    *ret_value = value;
    return *p > start;
}

/* One "a-b", "a-" or "-n". */
static enum range_result parse_one(struct slice spec, uint64_t size, uint64_t *ret_first,
                                   uint64_t *ret_last)
{
    const char *p = spec.ptr, *end = spec.ptr + spec.len;
    uint64_t first, last;
    bool has_first = take_number(&p, end, &first), has_last;

    if (p == end || *p++ != '-')
        return RANGE_MALFORMED;
    has_last = take_number(&p, end, &last);
    if (p != end || (!has_first && !has_last) || (has_first && has_last && last < first))
        return RANGE_MALFORMED;
    if (!has_first) {
        if (last == 0 || size == 0)
            return RANGE_UNSATISFIABLE;
        *ret_first = last >= size ? 0 : size - last;
        *ret_last = size - 1;
        return RANGE_PARTIAL;
    }
    if (first >= size)
        return RANGE_UNSATISFIABLE;
    *ret_first = first;
    *ret_last = has_last && last < size - 1 ? last : size - 1;
    return RANGE_PARTIAL;
}

enum range_result range_parse(const char *header, uint64_t size, uint64_t *ret_first,
                              uint64_t *ret_last)
{
    enum range_result result = RANGE_MALFORMED; /* of an empty list */
    uint64_t first = 0, last = 0;
    struct slice spec;
    unsigned n = 0;

    if (!header)
        return RANGE_NONE;
    header += strspn(header, " \t");
    if (strncasecmp(header, "bytes", 5) != 0)
        return RANGE_MALFORMED;
    header += 5;
    header += strspn(header, " \t");
    if (*header++ != '=')
        return RANGE_MALFORMED;
    while (token_next(&header, &spec)) {
        uint64_t a = 0, b = 0;
        enum range_result one = parse_one(spec, size, &a, &b);

        if (one == RANGE_MALFORMED)
            return one;
        if (++n > RANGES_MAX)
            return RANGE_NONE;
        if (one == RANGE_PARTIAL && result != RANGE_PARTIAL) {
            first = a;
            last = b;
        }
        if (result != RANGE_PARTIAL)
            result = one;
    }
    if (result == RANGE_PARTIAL) {
        *ret_first = first;
        *ret_last = last;
    }
    /* An empty file has no byte to refuse: it is sent whole (contracts/execd.md 1.11). */
    return result == RANGE_UNSATISFIABLE && size == 0 ? RANGE_NONE : result;
}
