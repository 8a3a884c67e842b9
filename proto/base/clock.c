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

static void format(time_t seconds, long fraction, int digits, char *buf)
{
    struct tm tm;

    gmtime_r(&seconds, &tm);
    size_t n = strftime(buf, CLOCK_RFC3339_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    if (fraction != 0)
        n += (size_t)snprintf(buf + n, CLOCK_RFC3339_MAX - n, ".%0*ld", digits, fraction);
    snprintf(buf + n, CLOCK_RFC3339_MAX - n, "Z");
}

void clock_format_us(int64_t wall_us, char *buf)
{
    int64_t seconds = wall_us / 1000000, rest = wall_us % 1000000;

    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    format((time_t)seconds, (long)rest, 6, buf);
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

int clock_parse_rfc3339(const char *text, int64_t *ret_wall_us)
{
    static const int month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct tm tm = {0};
    const char *p = text;
    int offset;
    int64_t us;

    if (digits(&p, 4, &tm.tm_year) < 0 || *p++ != '-' || digits(&p, 2, &tm.tm_mon) < 0 || *p++ != '-' ||
        digits(&p, 2, &tm.tm_mday) < 0 || (*p != 'T' && *p != 't' && *p != ' '))
        return -EINVAL;
    p++;
    if (digits(&p, 2, &tm.tm_hour) < 0 || *p++ != ':' || digits(&p, 2, &tm.tm_min) < 0 || *p++ != ':' ||
        digits(&p, 2, &tm.tm_sec) < 0 || parse_fraction(&p, &us) < 0 || parse_offset(p, &offset) < 0)
        return -EINVAL;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > month_days[tm.tm_mon - 1] ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return -EINVAL;
    int mday = tm.tm_mday;
    bool leap_second = tm.tm_sec == 60;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t seconds = timegm(&tm);
    if (tm.tm_mday != mday && !leap_second) /* 29 February of a common year */
        return -EINVAL;
    *ret_wall_us = ((int64_t)seconds - offset) * 1000000 + us;
    return 0;
}

/* Not strftime: names must not depend on a locale (RFC 9110 5.6.7). */
static const char *const day_names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void clock_format_http(time_t t, char *buf)
{
    struct tm tm;

    gmtime_r(&t, &tm);
    snprintf(buf, CLOCK_RFC3339_MAX, "%s, %02d %s %04d %02d:%02d:%02d GMT", day_names[tm.tm_wday], tm.tm_mday,
             month_names[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

int clock_parse_http(const char *text, time_t *ret_time)
{
    struct tm tm = {0};
    char month[4];
    int end = 0;

    if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d GMT%n", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec, &end) != 6 ||
        end == 0 || text[end] != '\0')
        return -EINVAL;
    tm.tm_mon = -1;
    for (int i = 0; i < 12; i++) {
        if (strcmp(month, month_names[i]) == 0)
            tm.tm_mon = i;
    }
    if (tm.tm_mon < 0 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return -EINVAL;
    tm.tm_year -= 1900;
    *ret_time = timegm(&tm);
    return 0;
}
