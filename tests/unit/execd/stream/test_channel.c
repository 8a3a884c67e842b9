#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/stream/channel.h"
#include "proto/base/clock.h"

static struct event_base *base;

static int set_up(void **state)
{
    (void)state;
    clock_test_shift_ms = 0;
    base = event_base_new();
    return base == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    clock_test_shift_ms = 0;
    event_base_free(base);
    return 0;
}

static void turn(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void count(void *arg)
{
    ++*(unsigned *)arg;
}

static void put(struct channel *ch, const char *text)
{
    channel_append(ch, EVENT_STDOUT, text, strlen(text));
}

static void test_readers_follow_at_their_own_pace(void **state)
{
    struct channel *ch = channel_new(base, NULL);
    struct channel_reader fast, late;
    struct channel_entry e;
    unsigned woken = 0;

    (void)state;
    channel_attach(&fast, ch, CHANNEL_FROM_START, count, &woken);
    channel_append_text(ch, EVENT_INIT, "id");
    put(ch, "one");
    put(ch, "");                /* nothing */
    assert_int_equal(woken, 0); /* posted, never called from inside */
    turn();
    assert_int_equal(woken, 1);
    assert_true(channel_peek(&fast, &e));
    assert_int_equal(e.type, EVENT_INIT);
    assert_memory_equal(e.data, "\"id\"", 4);
    channel_advance(&fast);
    assert_true(channel_peek(&fast, &e));
    assert_int_equal(e.seq, 2);
    channel_advance(&fast);
    assert_false(channel_peek(&fast, &e));
    assert_false(channel_at_end(&fast));
    channel_append_number(ch, EVENT_EXECUTION_COMPLETE, 12);
    channel_attach(&late, ch, CHANNEL_FROM_START, count, &woken);
    assert_true(channel_peek(&late, &e));
    assert_int_equal(e.seq, 1);
    channel_advance(&late);
    assert_true(channel_peek(&late, &e));
    assert_int_equal(e.seq, 2);
    channel_advance(&late);
    assert_true(channel_peek(&late, &e));
    assert_int_equal(e.type, EVENT_EXECUTION_COMPLETE);
    channel_advance(&late);
    assert_true(channel_at_end(&late));
    assert_true(channel_is_closed(ch));
    channel_detach(&fast);
    channel_detach(&late);
    channel_detach(&late); /* legal again */
    channel_unref(ch);
}

/* Every byte arrives in order, over many segments, with a reader that lags. */
static void test_content_is_exact(void **state)
{
    const struct channel_limits limits = {.retain = 4096, .window = 1 << 20, .stall_ms = 60000};
    struct channel *ch = channel_new(base, &limits);
    struct channel_reader r;
    struct channel_entry e;
    unsigned woken = 0;
    uint64_t expected = 0;
    char text[300];

    (void)state;
    channel_attach(&r, ch, CHANNEL_FROM_START, count, &woken);
    for (unsigned i = 0; i < 20000; i++) {
        memset(text, 'a' + (int)(i % 26), sizeof(text));
        channel_append(ch, EVENT_STDOUT, text, 1 + i % sizeof(text));
        if (i % 7 == 0 && i != 19999)
            continue;
        while (channel_peek(&r, &e)) {
            assert_int_equal(e.seq, expected + 1);
            assert_int_equal(e.len, 1 + expected % sizeof(text));
            assert_int_equal(e.data[e.len - 1], 'a' + (int)(expected % 26));
            expected++;
            channel_advance(&r);
        }
    }
    assert_int_equal(expected, 20000);
    channel_detach(&r);
    channel_unref(ch);
}

static void test_without_readers_the_writer_never_waits(void **state)
{
    const struct channel_limits limits = {.retain = 8192, .window = 8192, .stall_ms = 1000};
    struct channel *ch = channel_new(base, &limits);
    struct channel_reader r;
    struct channel_entry e;
    struct channel_stats stats;
    unsigned woken = 0;
    char block[1000];

    (void)state;
    memset(block, 'x', sizeof(block));
    for (int i = 0; i < 2000; i++) {
        assert_true(channel_has_room(ch));
        channel_append(ch, EVENT_STDOUT, block, sizeof(block));
    }
    channel_get_stats(ch, &stats);
    assert_int_equal(stats.bytes_total, 2000000);
    assert_true(stats.first_seq == 1 && stats.last_seq == 2000 && stats.bytes_dropped > 0);
    /* A late reader gets the head, is told what is missing, then reads on without another hole. */
    channel_attach(&r, ch, CHANNEL_FROM_START, count, &woken);
    uint64_t next = 1, taken = 0;
    unsigned gaps = 0;
    while (channel_peek(&r, &e)) {
        if (e.type == EVENT_GAP) {
            char text[128];
            snprintf(text, sizeof(text), "{\"from\":%u,\"to\":%u,\"stdout\":%u,\"stderr\":0}",
                     (unsigned)next, (unsigned)e.seq, (unsigned)(e.seq - next + 1) * 1000);
            assert_int_equal(e.len, strlen(text));
            assert_memory_equal(e.data, text, e.len);
            assert_int_equal(e.until[0], e.seq * 1000);
            gaps++;
            taken += (e.seq - next + 1) * 1000;
            next = e.seq + 1;
        } else {
            assert_int_equal(e.at, taken);
            assert_int_equal(e.seq, next++);
            taken += e.len;
        }
        channel_advance(&r);
    }
    assert_int_equal(next, 2001);
    assert_int_equal(taken, 2000000);
    assert_int_equal(gaps, 1);
    channel_detach(&r);
    channel_unref(ch);
}

static void test_slow_reader_holds_the_writer_then_is_cut(void **state)
{
    const struct channel_limits limits = {.retain = 1024, .window = 4096, .stall_ms = 50};
    struct channel *ch = channel_new(base, &limits);
    struct channel_reader slow, quick;
    struct channel_entry e;
    unsigned slow_woken = 0, quick_woken = 0, room = 0;
    char block[1024] = {0};

    (void)state;
    channel_attach(&slow, ch, CHANNEL_FROM_START, count, &slow_woken);
    channel_attach(&quick, ch, CHANNEL_FROM_START, count, &quick_woken);
    while (channel_has_room(ch))
        channel_append(ch, EVENT_STDOUT, block, sizeof(block));
    channel_on_room(ch, count, &room);
    turn();
    assert_int_equal(room, 0);
    uint64_t got = 0;
    while (channel_peek(&quick, &e)) {
        got++;
        channel_advance(&quick);
    }
    turn();
    assert_int_equal(room, 0); /* the slowest decides */
    clock_test_shift_ms = 1000;
    struct timeval tv = {.tv_usec = 200000};
    event_base_loopexit(base, &tv);
    event_base_dispatch(base);
    assert_true(slow.cut);
    assert_false(quick.cut);
    assert_int_equal(room, 1);
    channel_append(ch, EVENT_STDOUT, "more", 4);
    assert_true(channel_peek(&quick, &e)); /* nobody else loses data */
    assert_int_equal(e.seq, got + 1);
    channel_detach(&slow);
    channel_detach(&quick);
    channel_unref(ch);
}

static void test_leaving_reader_frees_the_writer(void **state)
{
    const struct channel_limits limits = {.retain = 1024, .window = 2048, .stall_ms = 60000};
    struct channel *ch = channel_new(base, &limits);
    struct channel_reader r;
    unsigned woken = 0, room = 0;
    char block[1024] = {0};

    (void)state;
    channel_attach(&r, ch, CHANNEL_FROM_START, count, &woken);
    while (channel_has_room(ch))
        channel_append(ch, EVENT_STDOUT, block, sizeof(block));
    channel_on_room(ch, count, &room);
    channel_detach(&r);
    turn();
    assert_int_equal(room, 1);
    channel_unref(ch);
}

static void test_errors_are_json(void **state)
{
    struct channel *ch = channel_new(base, NULL);
    struct channel_reader r;
    struct channel_entry e;
    unsigned woken = 0;
    const char *traceback[] = {"a\nb", "\"q\"", NULL};
    static const char expected[] =
        "{\"ename\":\"E\",\"evalue\":\"-1\",\"traceback\":[\"a\\nb\",\"\\\"q\\\"\"]}";

    (void)state;
    channel_append_error(ch, "E", "-1", traceback);
    channel_attach(&r, ch, CHANNEL_FROM_START, count, &woken);
    assert_true(channel_peek(&r, &e));
    assert_int_equal(e.len, sizeof(expected) - 1);
    assert_memory_equal(e.data, expected, e.len);
    channel_detach(&r);
    channel_unref(ch);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void fill_window(struct channel *ch)
{
    static char block[4096];

    while (channel_has_room(ch))
        channel_append(ch, EVENT_STDOUT, block, sizeof(block));
}

static void nothing(void *arg)
{
    (void)arg;
}

/* One that has read everything does not lag, and idle hours do not count against it afterwards. */
static void test_idle_reader_has_all_its_time(void **state)
{
    const struct channel_limits limits = {
        .retain = 64 * 1024, .window = 32 * 1024, .stall_ms = 60000};
    struct channel *ch = channel_new(base, &limits);
    struct channel_reader filler, r;
    struct channel_entry e;
    unsigned woken = 0;

    (void)state;
    channel_attach(&filler, ch, CHANNEL_FROM_START, nothing, NULL);
    fill_window(ch);
    channel_detach(&filler);
    channel_attach(&r, ch, CHANNEL_FROM_NOW, count, &woken); /* beyond the end: only what comes */
    assert_true(channel_has_room(ch));
    assert_false(channel_peek(&r, &e));
    clock_test_shift_ms += 3600 * 1000;
    put(ch, "later");
    assert_true(channel_peek(&r, &e));
    assert_memory_equal(e.data, "later", 5);
    fill_window(ch);
    channel_on_room(ch, count, &woken);
    struct timeval tv = {.tv_sec = 1, .tv_usec = 200000}; /* one turn of the stall timer */
    event_base_loopexit(base, &tv);
    event_base_dispatch(base);
    assert_false(r.cut);
    clock_test_shift_ms += 50 * 1000;
    channel_touch(&r); /* it still reads what it took */
    clock_test_shift_ms += 50 * 1000;
    event_base_loopexit(base, &tv);
    event_base_dispatch(base);
    assert_false(r.cut);
    clock_test_shift_ms += 50 * 1000;
    event_base_loopexit(base, &tv);
    event_base_dispatch(base);
    assert_true(r.cut);
    assert_true(channel_has_room(ch));
    channel_detach(&r);
    channel_unref(ch);
}

/* `at` counts each stream's bytes by itself. */
static void test_entries_know_their_place(void **state)
{
    struct channel *ch = channel_new(base, NULL);
    struct channel_reader r;
    struct channel_entry e;
    static const uint64_t expected[] = {0, 0, 3, 2, 5};

    (void)state;
    channel_append(ch, EVENT_STDOUT, "abc", 3);
    channel_append(ch, EVENT_STDERR, "xy", 2);
    channel_append(ch, EVENT_STDOUT, "de", 2);
    channel_append(ch, EVENT_STDERR, "z", 1);
    channel_append(ch, EVENT_STDOUT, "f", 1);
    channel_attach(&r, ch, CHANNEL_FROM_START, nothing, NULL);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(channel_peek(&r, &e));
        assert_int_equal(e.at, expected[i]);
        assert_int_equal(e.seq, i + 1);
        channel_advance(&r);
    }
    channel_detach(&r);
    channel_unref(ch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_readers_follow_at_their_own_pace),
        TEST(test_content_is_exact),
        TEST(test_without_readers_the_writer_never_waits),
        TEST(test_slow_reader_holds_the_writer_then_is_cut),
        TEST(test_leaving_reader_frees_the_writer),
        TEST(test_errors_are_json),
        TEST(test_idle_reader_has_all_its_time),
        TEST(test_entries_know_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
