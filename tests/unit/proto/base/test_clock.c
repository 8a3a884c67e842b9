/* Clocks and calendar: libc's calendar is the reference for ours. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/clock.h"

static void test_clocks_run_forward_and_shift(void **state)
{
    (void)state;
    int64_t mono = clock_monotonic_ms(), boot = clock_boottime_ms(), wall = clock_wall_ms();

    assert_true(clock_monotonic_ns() / 1000000 >= mono);
    assert_true(boot >= mono);
    assert_true(llabs(wall - (int64_t)time(NULL) * 1000) < 5000);
    clock_test_shift_ms = 3600000;
    assert_true(clock_monotonic_ms() - mono >= 3600000);
    assert_true(clock_boottime_ms() - boot >= 3600000);
    assert_true(clock_wall_ms() - wall >= 3600000);
    assert_true(clock_wall_us() / 1000 - wall >= 3600000);
    clock_test_shift_ms = 0;
}

static void check_seconds(int64_t seconds)
{
    char ours[CLOCK_RFC3339_MAX], theirs[CLOCK_RFC3339_MAX], http[CLOCK_RFC3339_MAX];
    struct timespec ts = {.tv_sec = seconds};
    time_t t = seconds, back = 0;
    int64_t us = 0;
    struct tm tm;

    assert_non_null(gmtime_r(&t, &tm));
    assert_true(strftime(theirs, sizeof(theirs), "%Y-%m-%dT%H:%M:%SZ", &tm) == 20);
    clock_format_ts(&ts, ours);
    assert_string_equal(ours, theirs);
    assert_int_equal(clock_parse_rfc3339(ours, &us), 0);
    assert_true(us == seconds * 1000000);
    clock_format_http(t, http);
    assert_true(strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm) == 29);
    assert_string_equal(http, theirs);
    assert_int_equal(clock_parse_http(http, &back), 0);
    assert_true(back == t);
}

static void test_calendar_agrees_with_libc(void **state)
{
    (void)state;
    /* A prime step near a third of a day visits every month and weekday from 1000 to 9999; then the days around
     * each turn of a century. */
    for (int64_t s = -INT64_C(30610224000); s <= INT64_C(253402300799); s += 28807 * INT64_C(97))
        check_seconds(s);
    for (int century = -3; century < 80; century++)
        for (int64_t day = -1; day < 62; day++)
            check_seconds((int64_t)(365.2425 * 100 * century) * 86400 + INT64_C(946684800) +
                          day * 86400 - 1);
}

static void test_format_fractions(void **state)
{
    (void)state;
    char buf[CLOCK_RFC3339_MAX];

    clock_format_us(INT64_C(1795255200123456), buf);
    assert_string_equal(buf, "2026-11-21T10:00:00.123456Z");
    clock_format_us(INT64_C(1795255200000000), buf);
    assert_string_equal(buf, "2026-11-21T10:00:00Z");
    clock_format_us(-1, buf);
    assert_string_equal(buf, "1969-12-31T23:59:59.999999Z");
    struct timespec ts = {.tv_sec = 1, .tv_nsec = 5};
    clock_format_ts(&ts, buf);
    assert_string_equal(buf, "1970-01-01T00:00:01.000000005Z");
}

static void test_format_keeps_four_digits_for_any_time(void **state)
{
    (void)state;
    static const int64_t seconds[] = {INT64_MIN, INT64_MAX, -INT64_C(62167219200),
                                      INT64_C(253402300799)};
    char buf[CLOCK_RFC3339_MAX];

    for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
        struct timespec ts = {.tv_sec = seconds[i], .tv_nsec = 999999999};
        clock_format_ts(&ts, buf);
        assert_string_equal(buf, i % 2 == 0 ? "0000-01-01T00:00:00.999999999Z"
                                            : "9999-12-31T23:59:59.999999999Z");
        clock_format_us(seconds[i], buf);
        assert_true(strlen(buf) == 20 || strlen(buf) == 27);
    }
}

static void test_parse_rfc3339(void **state)
{
    (void)state;
    static const int64_t ten = INT64_C(1795255200000000); /* 2026-11-21T10:00:00Z */
    static const struct {
        const char *text;
        int64_t offset_us;
    } good[] = {
        {"2026-11-21T10:00:00Z", 0},
        {"2026-11-21t10:00:00z", 0},
        {"2026-11-21 10:00:00", 0},
        {"2026-11-21T12:00:00+02:00", 0},
        {"2026-11-21T04:30:00-0530", 0},
        {"2026-11-21T10:00:00.5Z", 500000},
        {"2026-11-21T10:00:00.123456Z", 123456},
        {"2026-11-21T10:00:00.1234567890123Z", 123456},
        {"2026-11-21T09:59:60Z", 0}, /* leap second */
    };
    static const char *const bad[] = {
        "",
        "2026-11-21",
        "2026-11-21T10:00Z",
        "2026-11-21T10:00:00.Z",
        "2026-11-21T10:00:00Zx",
        "2026-11-21T10:00:00+2",
        "2026-11-21T10:00:00+24:00",
        "2026-11-21T10:00:00+02:60",
        "2026-13-21T10:00:00Z",
        "2026-00-21T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2026-11-00T10:00:00Z",
        "2026-02-29T10:00:00Z",
        "2100-02-29T10:00:00Z",
        "2026-02-29T23:59:60Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T10:60:00Z",
        "2026-11-21T10:00:61Z",
        " 2026-11-21T10:00:00Z",
        "+026-11-21T10:00:00Z",
        "1795255200",
    };
    int64_t us = 0;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (clock_parse_rfc3339(good[i].text, &us) != 0 || us != ten + good[i].offset_us)
            fail_msg("'%s': %lld", good[i].text, (long long)us);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (clock_parse_rfc3339(bad[i], &us) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
    assert_int_equal(clock_parse_rfc3339("2024-02-29T00:00:00Z", &us), 0);
}

static void test_parse_http_is_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "Sat, 21 Nov 2026 10:00:00",
        "Sat, 21 Nov 2026 10:00:00 UTC",
        "Sat, 21 Nov 2026 10:00:00 GMT ",
        "Sat 21 Nov 2026 10:00:00 GMT",
        "Xxx, 21 Nov 2026 10:00:00 GMT",
        "Sat, 21 Nox 2026 10:00:00 GMT",
        "Sat, 31 Nov 2026 10:00:00 GMT",
        "Sat, 1 Nov 2026 10:00:00 GMT",
        "Sat, 21 Nov 2026 -1:00:00 GMT",
        "Sat, 21 Nov 2026 10:+1:00 GMT",
        "Saturday, 21-Nov-26 10:00:00 GMT",
    };
    time_t t;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (clock_parse_http(bad[i], &t) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks_run_forward_and_shift),
        cmocka_unit_test(test_calendar_agrees_with_libc),
        cmocka_unit_test(test_format_fractions),
        cmocka_unit_test(test_format_keeps_four_digits_for_any_time),
        cmocka_unit_test(test_parse_rfc3339),
        cmocka_unit_test(test_parse_http_is_strict),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
