#include "execd/init/cron.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "proto/base/str.h"

#define DAY_S 86400
#define HORIZON_DAYS (8 * 366) /* a leap day comes at least every eight years */
#define FIELD_MAX 128

struct field {
    const char *name;
    unsigned min, max;
    const char *words; /* three letters each, the first one for `first_word` */
    unsigned first_word;
};

static const struct field fields[] = {
    {"minute", 0, 59, "", 0},
    {"hour", 0, 23, "", 0},
    {"day of month", 1, 31, "", 0},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec", 1},
    {"day of week", 0, 7, "sunmontuewedthufrisat", 0},
};

static const struct {
    const char *name, *fields;
} names[] = {
    {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
};

/* ---- reading ---- */

static int read_value(const struct field *f, const char *text, unsigned *ret)
{
    uint32_t number;
    if (str_to_u32(text, &number) == 0) {
        if (number < f->min || number > f->max)
            return -ERANGE;
        *ret = number;
        return 0;
    }
    for (unsigned i = 0; strlen(text) == 3 && f->words[(size_t)i * 3] != '\0'; i++)
        if (strncasecmp(f->words + (size_t)i * 3, text, 3) == 0) {
            *ret = f->first_word + i;
            return 0;
        }
    return -EINVAL;
}

/* "*", "n", "n-m"; a single value with a step goes on to the end of the field. */
static int read_range(const struct field *f, char *text, bool has_step, unsigned *ret_from,
                      unsigned *ret_to)
{
    if (strcmp(text, "*") == 0 || strcmp(text, "?") == 0) {
        *ret_from = f->min;
        *ret_to = f->max;
        return 0;
    }
    char *dash = strchr(text, '-');
    if (dash != NULL)
        *dash = '\0';
    if (read_value(f, text, ret_from) < 0)
        return -EINVAL;
    *ret_to = has_step ? f->max : *ret_from;
    if (dash != NULL && read_value(f, dash + 1, ret_to) < 0)
        return -EINVAL;
    return *ret_from <= *ret_to ? 0 : -EINVAL;
}

static int read_item(const struct field *f, char *item, uint64_t *bits)
{
    unsigned from, to;
    uint32_t step = 1;
    char *slash = strchr(item, '/');
    if (slash != NULL) {
        *slash = '\0';
        if (str_to_u32(slash + 1, &step) < 0 || step == 0)
            return -EINVAL;
    }
    if (read_range(f, item, slash != NULL, &from, &to) < 0)
        return -EINVAL;
    for (uint64_t value = from; value <= to; value += step)
        *bits |= UINT64_C(1) << value;
    return 0;
}

static int read_field(const struct field *f, const char *text, uint64_t *ret_bits, struct err *err)
{
    char copy[FIELD_MAX], *save = NULL;
    if (strlen(text) >= sizeof(copy) || text[0] == ',' || str_ends(text, ",") ||
        strstr(text, ",,") != NULL)
        return err_set(err, 0, EINVAL, "%s: '%.60s' is not a list", f->name, text);
    memcpy(copy, text, strlen(text) + 1);
    *ret_bits = 0;
    for (char *item = strtok_r(copy, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save))
        if (read_item(f, item, ret_bits) < 0)
            return err_set(err, 0, EINVAL, "%s: '%.60s' is not within %u-%u", f->name, text, f->min,
                           f->max);
    return 0;
}

static int read_fields(const char *text, struct cron *cron, struct err *err)
{
    uint64_t *const bits[] = {&cron->minutes, &cron->hours, &cron->days, &cron->months,
                              &cron->weekdays};
    char copy[5 * FIELD_MAX], *words[6], *save = NULL;
    size_t n = 0;
    if (strlen(text) >= sizeof(copy))
        return err_set(err, 0, EINVAL, "longer than %zu bytes", sizeof(copy) - 1);
    memcpy(copy, text, strlen(text) + 1);
    for (char *word = strtok_r(copy, " \t", &save); word != NULL && n < ARRAY_LEN(words);
         word = strtok_r(NULL, " \t", &save))
        words[n++] = word;
    if (n != ARRAY_LEN(fields))
        return err_set(err, 0, EINVAL, "'%.60s' has not five fields", text);
    for (size_t i = 0; i < n; i++) {
        int result = read_field(&fields[i], words[i], bits[i], err);
        if (result < 0)
            return result;
    }
    if (cron->weekdays & UINT64_C(1) << 7)
        cron->weekdays |= 1;
    cron->any_day = words[2][0] == '*' || words[2][0] == '?';
    cron->any_weekday = words[4][0] == '*' || words[4][0] == '?';
    return 0;
}

static int read_every(const char *text, struct cron *cron, struct err *err)
{
    int64_t ms;
    if (str_to_duration_ms(text, &ms) < 0 || ms < 1000 || ms % 1000 != 0)
        return err_set(err, 0, EINVAL, "@every: '%.40s' is not a time of whole seconds", text);
    cron->every_s = ms / 1000;
    return 0;
}

int cron_parse(const char *text, struct cron *ret_cron, struct err *err)
{
    struct cron cron = {0};
    const char *spelled = text;
    if (str_starts(text, "@every ")) {
        int result = read_every(text + strlen("@every "), &cron, err);
        if (result == 0)
            *ret_cron = cron;
        return result;
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i].name, text) == 0)
            spelled = names[i].fields;
    int result = read_fields(spelled, &cron, err);
    if (result < 0)
        return result;
    if (cron_next(&cron, 0) < 0)
        return err_set(err, 0, EINVAL, "'%.60s' never comes", text);
    *ret_cron = cron;
    return 0;
}

/* ---- the next time ---- */

static bool has(uint64_t bits, int value)
{
    return (bits >> value & 1) != 0;
}

static bool day_matches(const struct cron *cron, const struct tm *tm)
{
    bool day = has(cron->days, tm->tm_mday), weekday = has(cron->weekdays, tm->tm_wday);
    if (!has(cron->months, tm->tm_mon + 1))
        return false;
    return cron->any_day || cron->any_weekday ? day && weekday : day || weekday;
}

/* The first matching minute of a day at or after `minute`; -1 when there is none. */
static int next_minute(const struct cron *cron, int minute)
{
    for (; minute < DAY_S / 60; minute++)
        if (has(cron->hours, minute / 60) && has(cron->minutes, minute % 60))
            return minute;
    return -1;
}

int64_t cron_next(const struct cron *cron, int64_t now_s)
{
    if (cron->every_s > 0)
        return now_s + cron->every_s;
    int64_t day_s = now_s - now_s % DAY_S;
    int minute = (int)(now_s % DAY_S / 60) + 1;
    for (int i = 0; i < HORIZON_DAYS; i++, day_s += DAY_S, minute = 0) {
        time_t at = (time_t)day_s;
        struct tm tm;
        if (gmtime_r(&at, &tm) == NULL || !day_matches(cron, &tm))
            continue;
        int found = next_minute(cron, minute);
        if (found >= 0)
            return day_s + (int64_t)found * 60;
    }
    return -1;
}
