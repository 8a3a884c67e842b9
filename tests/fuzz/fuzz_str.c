/* Small texts that clients send: numbers, sizes, durations, processors, times. Each is taken exactly or refused. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_digits(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static void check_integers(const char *text)
{
    uint64_t u, bytes;
    int64_t i;
    uint32_t w;

    if (str_to_u64(text, &u) == 0) {
        if (!is_digits(text) || u != strtoull(text, NULL, 10))
            abort();
        if (str_to_bytes(text, &bytes) != 0 || bytes != u)
            abort();
    }
    if (str_to_i64(text, &i) == 0 &&
        (!is_digits(text + (text[0] == '-')) || i != strtoll(text, NULL, 10)))
        abort();
    if (str_to_u32(text, &w) == 0 && w != strtoull(text, NULL, 10))
        abort();
}

/* No text with a sign, a blank, an exponent or a byte beyond ASCII is a quantity. */
static void check_quantities(const char *text)
{
    uint64_t value = 0;
    int64_t ms = 0;
    bool flag;
    bool taken = str_to_bytes(text, &value) == 0;

    taken |= str_to_millicpu(text, &value) == 0;
    if (str_to_duration_ms(text, &ms) == 0) {
        taken = true;
        if (ms < 0)
            abort();
    }
    if (taken && text[strspn(text, "0123456789.kKmMgGtTpPiIbBshu")] != '\0')
        abort();
    (void)!str_to_bool(text, &flag);
}

/* What is read as a time prints as a text that reads as the same time. */
static void check_times(const char *text)
{
    char printed[CLOCK_RFC3339_MAX];
    int64_t us, again;
    time_t t, t_again;

    if (clock_parse_rfc3339(text, &us) == 0) {
        clock_format_us(us, printed);
        /* An offset may lead out of the four-digit years, where formatting stops at the edge. */
        bool in_range = us >= -INT64_C(62167219200000000) && us <= INT64_C(253402300799999999);
        if (in_range && (clock_parse_rfc3339(printed, &again) != 0 || again != us))
            abort();
    }
    if (clock_parse_http(text, &t) == 0) {
        clock_format_http(t, printed);
        if (t <= INT64_C(253402300799) &&
            (clock_parse_http(printed, &t_again) != 0 || t_again != t))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* exact, so that the sanitizer sees a step too far */
    enum log_level level;

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_integers(text);
    check_quantities(text);
    check_times(text);
    (void)!log_level_parse(text, &level);
    (void)utf8_is_valid(text, size);
    free(text);
    return 0;
}
