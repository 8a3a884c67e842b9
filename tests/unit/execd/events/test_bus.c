/* The event log: order, gaps, bounds, and who is called when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <string.h>

#include "execd/events/bus.h"

static struct event_base *base;
static unsigned readies, audiences;
static bool present_now;

static void count_ready(void *arg)
{
    (void)arg;
    readies++;
}

static void on_audience(void *arg, bool present)
{
    (void)arg;
    audiences++;
    present_now = present;
}

static void spin(void)
{
    assert_true(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
}

static int setup(void **state)
{
    (void)state;
    base = event_base_new();
    readies = audiences = 0;
    return base != NULL ? events_start(base) : -1;
}

static int teardown(void **state)
{
    (void)state;
    events_stop();
    event_base_free(base);
    return 0;
}

static void test_order_and_text(void **state)
{
    struct events_reader r = {0};
    struct events_entry e;

    (void)state;
    events_attach(&r, 0, count_ready, NULL);
    spin();
    assert_int_equal(readies, 0);
    events_publish(EVENTS_COMMAND_STARTED, json_pack("{s:s}", "id", "a"));
    events_publish(EVENTS_OOM, NULL);
    assert_int_equal(readies, 0); /* posted, not called */
    spin();
    assert_int_equal(readies, 1);
    assert_true(events_read(&r, &e));
    assert_int_equal(e.seq, 1);
    assert_string_equal(e.type, "command_started");
    assert_non_null(strstr(e.json, "\"id\":\"a\""));
    assert_true(events_read(&r, &e));
    assert_int_equal(e.seq, 2);
    assert_false(events_read(&r, &e));
    events_detach(&r);
}

static void test_an_overtaken_reader_gets_a_gap(void **state)
{
    struct events_reader slow = {0}, late = {0};
    struct events_entry e;
    uint64_t expected = 11;

    (void)state;
    events_attach(&slow, 0, count_ready, NULL);
    for (int i = 0; i < EVENTS_KEPT + 10; i++)
        events_publish(EVENTS_PTY_CREATED, NULL);
    assert_true(events_read(&slow, &e));
    assert_string_equal(e.type, "gap");
    assert_int_equal(e.seq, 10);
    assert_non_null(strstr(e.json, "\"dropped\":{\"from\":1,\"to\":10}"));
    while (events_read(&slow, &e))
        assert_int_equal(e.seq, expected++);
    assert_int_equal(expected, EVENTS_KEPT + 11);
    events_attach(&late, UINT64_MAX, count_ready, NULL); /* a number of another life */
    assert_true(events_read(&late, &e));
    assert_int_equal(e.seq, 11);
    events_detach(&slow);
    events_detach(&late);
}

static void test_large_events_lose_their_fields(void **state)
{
    static char text[EVENTS_JSON_MAX + 1];
    struct events_reader r = {0};
    struct events_entry e;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    events_attach(&r, 0, count_ready, NULL);
    events_publish(EVENTS_KERNEL_STATE, json_pack("{s:s}", "id", text));
    assert_true(events_read(&r, &e));
    assert_true(e.len < 200);
    events_detach(&r);
}

static void test_sources_follow_the_audience(void **state)
{
    struct events_reader a = {0}, b = {0};

    (void)state;
    events_on_audience(on_audience, NULL);
    spin();
    assert_int_equal(audiences, 0);
    events_attach(&a, 0, count_ready, NULL);
    events_attach(&b, 0, count_ready, NULL);
    spin();
    assert_int_equal(audiences, 1);
    assert_true(present_now);
    events_detach(&a);
    spin();
    assert_int_equal(audiences, 1);
    events_detach(&b);
    spin();
    assert_int_equal(audiences, 2);
    assert_false(present_now);
}

static void test_nothing_behind_the_end(void **state)
{
    (void)state;
    events_close();
    assert_true(events_closed());
    events_publish(EVENTS_OOM, NULL);
    assert_int_equal(events_last(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order_and_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_overtaken_reader_gets_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_events_lose_their_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sources_follow_the_audience, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_behind_the_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
