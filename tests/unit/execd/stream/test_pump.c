/* A pump over real pipes: everything that was written before the end arrives, nobody can hold the end up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/stream/pump.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"

struct world {
    struct event_base *base;
    struct channel *ch;
    struct pump *pump;
    int out, err; /* the writing ends */
    unsigned ended;
};

static void on_end(void *arg)
{
    struct world *w = arg;

    w->ended++;
}

static struct world begin(const struct channel_limits *limits)
{
    struct world w = {.base = event_base_new(), .out = -1, .err = -1};

    assert_non_null(w.base);
    w.ch = channel_new(w.base, limits);
    return w;
}

/* The world must not move once the pump points to it. */
static void start(struct world *w, int linger_ms)
{
    int out[2], err[2];

    assert_int_equal(fd_pipe(out), 0);
    assert_int_equal(fd_pipe(err), 0);
    w->out = out[1];
    w->err = err[1];
    assert_int_equal(pump_new(w->base, w->ch, out[0], err[0], linger_ms, on_end, w, &w->pump), 0);
}

static void end(struct world *w)
{
    pump_free(w->pump);
    channel_unref(w->ch);
    event_base_free(w->base);
    if (w->out >= 0)
        close(w->out);
    if (w->err >= 0)
        close(w->err);
}

static void run_ms(struct world *w, int ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    event_base_loopexit(w->base, &tv);
    event_base_dispatch(w->base);
}

static void run_to_end(struct world *w)
{
    for (int i = 0; i < 200 && w->ended == 0; i++)
        run_ms(w, 10);
    assert_int_equal(w->ended, 1);
}

static uint64_t bytes(const struct world *w)
{
    struct channel_stats stats;

    channel_get_stats(w->ch, &stats);
    return stats.bytes_total;
}

static void say(int fd, size_t n)
{
    static char block[65536];

    assert_true(n <= sizeof(block));
    assert_int_equal(write(fd, block, n), n);
}

static void hang_up(int *fd)
{
    close(*fd);
    *fd = -1;
}

static void test_ends_when_both_are_closed(void **state)
{
    struct world w = begin(NULL);

    (void)state;
    start(&w, 50);
    say(w.out, 5);
    hang_up(&w.out);
    run_ms(&w, 50);
    assert_int_equal(w.ended, 0);
    say(w.err, 60000);
    hang_up(&w.err);
    run_to_end(&w);
    assert_int_equal(bytes(&w), 60005);
    run_ms(&w, 20);
    assert_int_equal(w.ended, 1);
    end(&w);
}

static void test_B03_a_held_pipe_ends_after_the_linger(void **state)
{
    struct world w = begin(NULL);
    int64_t before = clock_monotonic_ms();

    (void)state;
    start(&w, 400);
    pump_leader_exited(w.pump);
    run_ms(&w, 10);
    say(w.out, 100); /* within the linger: still read */
    run_to_end(&w);
    assert_int_equal(bytes(&w), 100);
    int64_t took = clock_monotonic_ms() - before;
    assert_true(took >= 390 && took < 1900);
    end(&w);
}

static void on_entry(void *arg)
{
    (void)arg;
}

/* A reader that does not read holds the process up, but not its end: what is in the pipes then is still read. */
static void test_back_pressure_and_what_was_in_the_pipes(void **state)
{
    const struct channel_limits limits = {.retain = 4096, .window = 100000, .stall_ms = 60000};
    struct world w = begin(&limits);
    struct channel_reader r;
    struct channel_entry e;
    size_t read_bytes = 0;

    (void)state;
    channel_attach(&r, w.ch, CHANNEL_FROM_START, on_entry, NULL);
    start(&w, 50);
    say(w.out, 65536);
    run_ms(&w, 20);
    say(w.out, 65536);
    run_ms(&w, 20);
    assert_int_equal(bytes(&w), 131072);
    say(w.out, 40000); /* stays in the pipe: the window is full */
    say(w.err, 7);
    run_ms(&w, 50);
    assert_int_equal(bytes(&w), 131072);
    pump_leader_exited(w.pump);
    run_to_end(&w);
    assert_int_equal(bytes(&w), 131072 + 40007);
    while (channel_peek(&r, &e)) {
        read_bytes += e.len;
        channel_advance(&r);
    }
    assert_int_equal(read_bytes, 131072 + 40007);
    run_ms(&w, 20);
    assert_int_equal(w.ended, 1);
    channel_detach(&r);
    end(&w);
}

static void test_one_descriptor_is_enough(void **state)
{
    struct world w = begin(NULL);
    int out[2];

    (void)state;
    assert_int_equal(fd_pipe(out), 0);
    w.out = out[1];
    assert_int_equal(pump_new(w.base, w.ch, out[0], -1, 50, on_end, &w, &w.pump), 0);
    say(w.out, 3);
    hang_up(&w.out);
    run_to_end(&w);
    assert_int_equal(bytes(&w), 3);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_when_both_are_closed),
        cmocka_unit_test(test_B03_a_held_pipe_ends_after_the_linger),
        cmocka_unit_test(test_back_pressure_and_what_was_in_the_pipes),
        cmocka_unit_test(test_one_descriptor_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
