/* Cron: what is read, what is refused, and the next time as dates that a calendar confirms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "execd/init/cron.h"
#include "proto/base/defs.h"

static int64_t at(const char *text)
{
    struct tm tm = {0};
    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    return (int64_t)timegm(&tm);
}

static void test_next_times(void **state)
{
    static const struct {
        const char *schedule, *now, *next;
    } rows[] = {
        {"* * * * *", "2026-11-21 10:00:00", "2026-11-21 10:01:00"},
        {"* * * * *", "2026-11-21 10:00:59", "2026-11-21 10:01:00"},
        {"*/15 * * * *", "2026-11-21 10:46:00", "2026-11-21 11:00:00"},
        {"7/20 * * * *", "2026-11-21 10:08:00", "2026-11-21 10:27:00"},
        {"5,10-12 3 * * *", "2026-11-21 03:10:00", "2026-11-21 03:11:00"},
        {"5,10-12 3 * * *", "2026-11-21 03:12:00", "2026-11-22 03:05:00"},
        {"0 0 * * *", "2026-12-31 00:00:00", "2027-01-01 00:00:00"},
        {"30 6 * * mon-FRI", "2026-11-20 06:30:00", "2026-11-23 06:30:00"},
        {"0 0 * * 7", "2026-11-21 12:00:00", "2026-11-22 00:00:00"},
        {"0 12 29 2 *", "2026-11-21 12:00:00", "2028-02-29 12:00:00"},
        {"0 0 1 jan,jul *", "2026-11-21 12:00:00", "2027-01-01 00:00:00"},
        /* both day fields narrowed: either is enough */
        {"0 0 13 * fri", "2026-11-21 12:00:00", "2026-11-27 00:00:00"},
        {"0 0 13 * fri", "2026-12-12 12:00:00", "2026-12-13 00:00:00"},
        {"0 0 */2 * fri", "2026-11-21 12:00:00", "2026-11-27 00:00:00"},
        {"@hourly", "2026-11-21 10:00:00", "2026-11-21 11:00:00"},
        {"@daily", "2026-11-21 10:00:00", "2026-11-22 00:00:00"},
        {"@midnight", "2026-11-21 10:00:00", "2026-11-22 00:00:00"},
        {"@weekly", "2026-11-21 10:00:00", "2026-11-22 00:00:00"},
        {"@monthly", "2026-11-21 10:00:00", "2026-12-01 00:00:00"},
        {"@yearly", "2026-11-21 10:00:00", "2027-01-01 00:00:00"},
        {"@annually", "2026-11-21 10:00:00", "2027-01-01 00:00:00"},
        {"@every 90s", "2026-11-21 10:00:00", "2026-11-21 10:01:30"},
        {"@every 1h30m", "2026-11-21 10:00:00", "2026-11-21 11:30:00"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cron cron;
        struct err err = {0};
        if (cron_parse(rows[i].schedule, &cron, &err) < 0)
            fail_msg("%s: %s", rows[i].schedule, err.text);
        int64_t next = cron_next(&cron, at(rows[i].now));
        if (next != at(rows[i].next))
            fail_msg("%s after %s: %lld, not %s", rows[i].schedule, rows[i].now, (long long)next,
                     rows[i].next);
    }
}

static void test_refused(void **state)
{
    static const char *const rows[] = {
        "",
        " ",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * 0 *",
        "* * * * 8",
        "-1 * * * *",
        "*/0 * * * *",
        "*/ * * * *",
        "5-1 * * * *",
        "1,,2 * * * *",
        ",1 * * * *",
        "1, * * * *",
        "a * * * *",
        "* * * foo *",
        "1-2-3 * * * *",
        "1.5 * * * *",
        "0x1 * * * *",
        "@never",
        "@every",
        "@every ",
        "@every 500ms",
        "@every 1500ms",
        "@every 0s",
        "@every -1s",
        "0 0 31 2 *",
        "0 0 31 4,6,9,11 *",
        "99999999999999999999 * * * *",
        "*/99999999999 * * * *",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cron cron = {.every_s = 77};
        struct err err = {0};
        if (cron_parse(rows[i], &cron, &err) >= 0)
            fail_msg("'%s' was taken", rows[i]);
        assert_true(err.text[0] != '\0');
        assert_int_equal(cron.every_s, 77);
    }
}

static void test_long_texts(void **state)
{
    char text[2000];
    struct cron cron;
    struct err err = {0};
    (void)state;
    memset(text, '1', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_true(cron_parse(text, &cron, &err) < 0);
    snprintf(text, sizeof(text), "%0300d * * * *", 1);
    assert_true(cron_parse(text, &cron, &err) < 0);
}

/* Every result is a match that lies behind; nothing between is one. */
static void test_against_a_walk_by_minutes(void **state)
{
    static const char *const rows[] = {"*/7 */5 * * *", "3 4 1-7 * mon", "59 23 31 * *"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cron cron;
        struct err err = {0};
        assert_int_equal(cron_parse(rows[i], &cron, &err), 0);
        int64_t now = at("2026-02-27 23:50:30"), next = cron_next(&cron, now);
        for (int n = 0; n < 50; n++) {
            assert_true(next > now && next % 60 == 0);
            assert_int_equal(cron_next(&cron, next - 60), next);
            assert_int_equal(cron_next(&cron, now), next);
            now = next;
            next = cron_next(&cron, now);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_times),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_against_a_walk_by_minutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
