#include "proto/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int64_t clock_test_shift_ms;

static int64_t read_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec + clock_test_shift_ms * 1000000;
}

int64_t clock_monotonic_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

int64_t clock_boottime_ms(void)
{
    return read_ns(CLOCK_BOOTTIME) / 1000000;
}

int64_t clock_wall_us(void)
{
    return read_ns(CLOCK_REALTIME) / 1000;
}

int64_t clock_wall_ms(void)
{
    return clock_wall_us() / 1000;
}

#define SECONDS_PER_DAY 86400
/* 0000-01-01 and 9999-12-31T23:59:59: the texts have four digits for a year. */
#define SECONDS_FIRST (-INT64_C(62167219200))
#define SECONDS_LAST INT64_C(253402300799)

struct civil {
    int year, month, day; /* month and day from 1 */
    int hour, minute, second;
    int weekday; /* 0 = Sunday */
};

/* Days of the years before `year` since 0000-03-01: with March first, the leap day ends the year. */
static int64_t days_before(int64_t year)
{
    return 365 * year + year / 4 - year / 100 + year / 400;
}

/* 1970-01-01 counted as above. */
#define EPOCH_DAYS 719468

/* Own calendar arithmetic: libc's gmtime_r and timegm read $TZ and /etc/localtime first, which in a
 * sandbox are the image's (a FIFO there would stop PID 1). */
static int64_t seconds_of(const struct civil *c)
{
    int64_t year = c->month <= 2 ? c->year + 399 : c->year + 400; /* + 400: never negative */
    int shifted = (c->month + 9) % 12;                            /* March = 0 */
    int64_t days =
        days_before(year) - days_before(400) + (153 * shifted + 2) / 5 + c->day - 1 - EPOCH_DAYS;

    return days * SECONDS_PER_DAY + c->hour * 3600 + c->minute * 60 + c->second;
}

static struct civil civil_of(int64_t seconds)
{
    seconds = MIN(MAX(seconds, SECONDS_FIRST), SECONDS_LAST);
    int64_t days = (seconds - SECONDS_FIRST) / SECONDS_PER_DAY - 60; /* since 0000-03-01 */
    int64_t rest = (seconds - SECONDS_FIRST) % SECONDS_PER_DAY;

    days += days_before(400);
    int64_t year = days / 366; /* never above the true one */
    while (days_before(year + 1) <= days)
        year++;
    int day = (int)(days - days_before(year));
    int shifted = (5 * day + 2) / 153;
    return (struct civil){.year = (int)(year - 400) + (shifted >= 10 ? 1 : 0),
                          .month = (shifted + 2) % 12 + 1,
                          .day = day - (153 * shifted + 2) / 5 + 1,
                          .hour = (int)(rest / 3600),
                          .minute = (int)(rest / 60 % 60),
                          .second = (int)(rest % 60),
                          .weekday = (int)((days + 3) % 7)};
}

static void format(int64_t seconds, long fraction, int digits, char *buf)
{
    struct civil c = civil_of(seconds);
    int n = snprintf(buf, CLOCK_RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", c.year, c.month,
                     c.day, c.hour, c.minute, c.second);

    if (fraction != 0)
        n += snprintf(buf + n, CLOCK_RFC3339_MAX - (size_t)n, ".%0*ld", digits, fraction);
    (void)snprintf(buf + n, CLOCK_RFC3339_MAX - (size_t)n, "Z"); /* at most 31 bytes in all */
}

void clock_format_us(int64_t wall_us, char *buf)
{
    int64_t seconds = wall_us / 1000000, rest = wall_us % 1000000;

    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    format(seconds, (long)rest, 6, buf);
}

void clock_format_ts(const struct timespec *ts, char *buf)
{
    format(ts->tv_sec, ts->tv_nsec, 9, buf);
}

/* Exactly n digits. */
static int digits(const char **p, int n, int *ret)
{
    int value = 0;

    for (int i = 0; i < n; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return -EINVAL;
        value = value * 10 + (**p - '0');
    }
    *ret = value;
    return 0;
}

static int parse_fraction(const char **p, int64_t *ret_us)
{
    int64_t us = 0, unit = 100000;

    if (**p != '.' && **p != ',') {
        *ret_us = 0;
        return 0;
    }
    (*p)++;
    if (**p < '0' || **p > '9')
        return -EINVAL;
    for (; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
        us += (**p - '0') * unit;
    *ret_us = us;
    return 0;
}

static int parse_offset(const char *p, int *ret_seconds)
{
    int sign = *p == '-' ? -1 : 1, hours, minutes;

    *ret_seconds = 0;
    if (*p == '\0' || ((*p == 'Z' || *p == 'z') && p[1] == '\0'))
        return 0;
    if (*p != '+' && *p != '-')
        return -EINVAL;
    p++;
    if (digits(&p, 2, &hours) < 0)
        return -EINVAL;
    if (*p == ':')
        p++;
    if (digits(&p, 2, &minutes) < 0 || *p != '\0' || hours > 23 || minutes > 59)
        return -EINVAL;
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return 0;
}

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static bool civil_is_valid(const struct civil *c)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (c->month < 1 || c->month > 12 || c->day < 1)
        return false;
    int days = month_days[c->month - 1] + (c->month == 2 && is_leap(c->year) ? 1 : 0);
    /* Second 60 is a leap second; it counts as the first of the next minute. */
    return c->day <= days && c->hour <= 23 && c->minute <= 59 && c->second <= 60;
}

/* "10:00:00" */
static int parse_time(const char **p, struct civil *c)
{
    if (digits(p, 2, &c->hour) < 0 || *(*p)++ != ':' || digits(p, 2, &c->minute) < 0 ||
        *(*p)++ != ':' || digits(p, 2, &c->second) < 0)
        return -EINVAL;
    return 0;
}

int clock_parse_rfc3339(const char *text, int64_t *ret_wall_us)
{
    struct civil c = {0};
    const char *p = text;
    int offset;
    int64_t us;

    if (digits(&p, 4, &c.year) < 0 || *p++ != '-' || digits(&p, 2, &c.month) < 0 || *p++ != '-' ||
        digits(&p, 2, &c.day) < 0 || (*p != 'T' && *p != 't' && *p != ' '))
        return -EINVAL;
    p++;
    if (parse_time(&p, &c) < 0 || parse_fraction(&p, &us) < 0 || parse_offset(p, &offset) < 0 ||
        !civil_is_valid(&c))
        return -EINVAL;
    *ret_wall_us = (seconds_of(&c) - offset) * 1000000 + us;
    return 0;
}

/* Not strftime: names must not depend on a locale (RFC 9110 5.6.7). */
static const char day_names[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char month_names[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void clock_format_http(time_t t, char *buf)
{
    struct civil c = civil_of(t);

    (void)snprintf(buf, CLOCK_RFC3339_MAX, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                   day_names[c.weekday], c.day, month_names[c.month - 1], c.year, c.hour, c.minute,
                   c.second); /* 29 bytes */
}

/* A three-letter name of the table, as its index; *p is moved behind it. */
static int parse_name(const char **p, const char (*names)[4], int n)
{
    for (int i = 0; i < n; i++) {
        if (strncmp(*p, names[i], 3) == 0) {
            *p += 3;
            return i;
        }
    }
    return -EINVAL;
}

static bool skip(const char **p, const char *literal)
{
    bool there = strncmp(*p, literal, strlen(literal)) == 0;

    *p += there ? strlen(literal) : 0;
    return there;
}

/* The weekday must be a name but is not compared with the date: recipients are told to be lenient. */
int clock_parse_http(const char *text, time_t *ret_time)
{
    struct civil c = {0};
    const char *p = text;

    if (parse_name(&p, day_names, (int)ARRAY_LEN(day_names)) < 0 || !skip(&p, ", ") ||
        digits(&p, 2, &c.day) < 0 || !skip(&p, " "))
        return -EINVAL;
    int month = parse_name(&p, month_names, (int)ARRAY_LEN(month_names));
    if (month < 0 || !skip(&p, " ") || digits(&p, 4, &c.year) < 0 || !skip(&p, " ") ||
        parse_time(&p, &c) < 0 || !skip(&p, " GMT") || *p != '\0')
        return -EINVAL;
    c.month = month + 1;
    if (!civil_is_valid(&c))
        return -EINVAL;
    *ret_time = (time_t)seconds_of(&c);
    return 0;
}
