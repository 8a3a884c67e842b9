/* Alarms: told once when it becomes bad, once when it is good again, and nothing twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <string.h>

#include "execd/events/bus.h"
#include "execd/metrics/alarms.h"

static struct event_base *base;
static struct events_reader reader;

static void nothing(void *arg)
{
    (void)arg;
}

static int setup(void **state)
{
    (void)state;
    base = event_base_new();
    if (base == NULL || events_start(base) < 0)
        return -1;
    events_attach(&reader, 0, nothing, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    events_detach(&reader);
    events_stop();
    event_base_free(base);
    return 0;
}

/* The next event holds these words. */
static void expect(const char *type, const char *part)
{
    struct events_entry e;

    assert_true(events_read(&reader, &e));
    assert_string_equal(e.type, type);
    assert_non_null(strstr(e.json, part));
}

static void expect_nothing(void)
{
    struct events_entry e;

    assert_false(events_read(&reader, &e));
}

static void test_oom_kills(void **state)
{
    struct alarm_state told = {.oom_kills = 2};
    struct sample s = {.has = SAMPLE_OOM, .oom_kills = 2};

    (void)state;
    alarms_check(&told, &s);
    expect_nothing();
    s.oom_kills = 5;
    alarms_check(&told, &s);
    expect("oom", "\"kills\":3,\"total\":5");
    alarms_check(&told, &s);
    expect_nothing();
    s.has = 0; /* the file is gone: no number, no news */
    s.oom_kills = 9;
    alarms_check(&told, &s);
    expect_nothing();
}

static void test_pressure_has_hysteresis(void **state)
{
    struct alarm_state told = {0};
    struct sample s = {.pressure[SAMPLE_RESOURCE_MEMORY] = {.has_some = true}};
    double *avg = &s.pressure[SAMPLE_RESOURCE_MEMORY].some_avg10;

    (void)state;
    *avg = ALARM_HIGH - 1;
    alarms_check(&told, &s);
    expect_nothing();
    *avg = ALARM_HIGH;
    alarms_check(&told, &s);
    expect("pressure", "\"resource\":\"memory\",\"state\":\"high\"");
    *avg = ALARM_NORMAL;
    alarms_check(&told, &s);
    expect_nothing();
    *avg = ALARM_NORMAL - 1;
    alarms_check(&told, &s);
    expect("pressure", "\"state\":\"normal\"");
    alarms_check(&told, &s);
    expect_nothing();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_oom_kills, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pressure_has_hysteresis, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
