/* Includes the code under test: the state is the process's one loop. */
#include "proto/base/loop_delay.c"

#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int log_pipe[2];
static struct event_base *base; /* to the end: its descriptor's number is the loop's */

static void nap(int ms)
{
    (void)poll(NULL, 0, ms);
}

static void on_short(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    nap(30);
}

static void on_long(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    {
        LOOP_WORK("GET", "/short");
        nap(10);
    }
    LOOP_WORK("POST", "/long");
    nap(LOOP_STALL_MS + 20);
}

static void run_once(event_callback_fn fn)
{
    static const struct timeval soon = {.tv_usec = 1000};

    assert_int_equal(event_base_once(base, -1, EV_TIMEOUT, fn, NULL, &soon), 0);
    assert_true(event_base_dispatch(base) >= 0);
    nap(5);
    /* A loop without events returns without waiting: the round ends with the next wait. */
    assert_int_equal(event_base_once(base, -1, EV_TIMEOUT, on_short, NULL, &soon), 0);
    assert_true(event_base_dispatch(base) >= 0);
}

static void *wait_elsewhere(void *arg)
{
    struct epoll_event event;
    int fd = epoll_create1(EPOLL_CLOEXEC);

    (void)arg;
    for (int i = 0; i < 50; i++)
        (void)epoll_wait(fd, &event, 1, 0);
    close(fd);
    return NULL;
}

static uint64_t rounds(void)
{
    uint64_t n = 0;

    for (size_t i = 0; i <= LOOP_DELAY_BOUNDS; i++)
        n += loop.sum.rounds[i];
    return n;
}

static void test_N05_a_stall_is_told_once_with_what_ran(void **state)
{
    struct loop_delay sum;
    char text[2048] = "";
    int64_t begin = loop_clock_ms(), begin_ms = clock_monotonic_ms();
    (void)state;

    loop_delay_start();
    run_once(on_short);
    loop_delay_get(&sum);
    assert_int_equal(sum.stalls, 0);
    assert_true(sum.max_us >= 30000 && rounds() > 0);
    assert_int_equal(read(log_pipe[0], text, sizeof(text) - 1), -1); /* nothing was said */
    run_once(on_long);
    loop_delay_get(&sum);
    assert_int_equal(sum.stalls, 1);
    assert_true(sum.max_us >= LOOP_STALL_MS * 1000);
    assert_true(read(log_pipe[0], text, sizeof(text) - 1) > 0);
    assert_non_null(strstr(text, "\"longest\":\"POST /long\""));
    assert_non_null(strstr(text, "\"level\":\"warn\""));
    assert_null(strchr(strchr(text, '\n') + 1, '\n')); /* one line */
    /* The clock for deadlines stood still while the loop did. */
    assert_true(loop_clock_ms() >= begin);
    assert_true(clock_monotonic_ms() - begin_ms - (loop_clock_ms() - begin) >= LOOP_STALL_MS);
}

static void test_N05_other_loops_are_not_counted(void **state)
{
    uint64_t before = rounds();
    pthread_t thread;
    (void)state;

    assert_int_equal(pthread_create(&thread, NULL, wait_elsewhere, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)wait_elsewhere(NULL); /* this thread, but not the loop's descriptor */
    assert_int_equal(rounds(), before);
}

static int word[2];

/* As behind a stop: the wait has ended with nothing, and meanwhile something has arrived. */
static void on_signal(int signum)
{
    (void)signum;
    assert_int_equal(write(word[1], "x", 1), 1);
}

static void *interrupt(void *arg)
{
    nap(50);
    (void)pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

static void test_an_interrupted_wait_tells_what_has_arrived(void **state)
{
    struct sigaction action = {.sa_handler = on_signal};
    pthread_t thread, self = pthread_self();
    int fd = epoll_create1(EPOLL_CLOEXEC);
    (void)state;

    assert_int_equal(pipe2(word, O_CLOEXEC | O_NONBLOCK), 0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = word[0]};
    assert_int_equal(epoll_ctl(fd, EPOLL_CTL_ADD, word[0], &event), 0);
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &self), 0);
    assert_int_equal(epoll_wait(fd, &event, 1, 60000), 1);
    assert_int_equal(event.data.fd, word[0]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(word); i++)
        close(word[i]);
    close(fd);
}

static void on_quiet_signal(int signum)
{
    (void)signum;
}

static void *interrupt_often(void *arg)
{
    for (int i = 0; i < 8; i++)
        (void)interrupt(arg);
    return NULL;
}

/* Of an interrupted wait nobody knows how much of it was a stop. */
static void test_an_interrupted_wait_is_time_away(void **state)
{
    const struct timeval due = {.tv_usec = 300000};
    struct sigaction action = {.sa_handler = on_quiet_signal};
    pthread_t thread, self = pthread_self();
    int64_t away = away_ns, begin = loop_clock_ms();
    (void)state;

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    assert_int_equal(event_base_once(base, -1, EV_TIMEOUT, on_short, NULL, &due), 0);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_often, &self), 0);
    assert_true(event_base_dispatch(base) >= 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(away_ns > away);
    assert_true(loop_clock_ms() >= begin);
}

/* As when something arrives, the process is stopped before it runs, and goes on behind the limit of its wait. */
static void test_a_stop_that_interrupts_no_wait_does_not_count(void **state)
{
    int64_t away = away_ns;
    (void)state;

    read_cpu(&loop.cpu);
    wait_ns = now_ns() - 1300 * NS_PER_MS;
    begin_round(false, 1000);
    assert_true(away_ns - away >= 1200 * NS_PER_MS);
    away = away_ns;
    wait_ns = now_ns() - 900 * NS_PER_MS;
    begin_round(false, 60000); /* a message has come: that is what it waited for */
    assert_int_equal(away_ns, away);
    loop.round_ns = 0;
}

static void on_busy(evutil_socket_t fd, short what, void *arg)
{
    int64_t end = now_ns() + 300 * NS_PER_MS;

    (void)fd, (void)what, (void)arg;
    while (now_ns() < end)
        ;
}

/* Else who keeps the loop busy, or has next to no CPU, would never meet its deadline. */
static void test_work_and_a_lack_of_cpu_are_no_time_away(void **state)
{
    int64_t begin = loop_clock_ms(), begin_ms = clock_monotonic_ms();
    (void)state;

    for (int i = 0; i < 3; i++)
        run_once(on_busy);
    assert_in_range(clock_monotonic_ms() - begin_ms, 900, 60000);
    assert_in_range(clock_monotonic_ms() - begin_ms - (loop_clock_ms() - begin), 0, 300);
}

static void test_N05_metrics(void **state)
{
    cleanup_strbuf struct strbuf out;
    (void)state;

    strbuf_init(&out, 65536);
    loop_delay_write_metrics("x", &out, METRIC_OPENMETRICS);
    assert_int_equal(strbuf_check(&out), 0);
    assert_non_null(strstr(out.data, "x_loop_delay_seconds_bucket{loop=\"main\",le=\"1\"} "));
    assert_non_null(strstr(out.data, "\nx_loop_stalls_total 1\n"));
    assert_non_null(strstr(out.data, "\nx_loop_delay_max_seconds 1."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_N05_a_stall_is_told_once_with_what_ran),
        cmocka_unit_test(test_N05_other_loops_are_not_counted),
        cmocka_unit_test(test_an_interrupted_wait_tells_what_has_arrived),
        cmocka_unit_test(test_an_interrupted_wait_is_time_away),
        cmocka_unit_test(test_a_stop_that_interrupts_no_wait_does_not_count),
        cmocka_unit_test(test_work_and_a_lack_of_cpu_are_no_time_away),
        cmocka_unit_test(test_N05_metrics),
    };

    if (pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return 1;
    log_init(log_pipe[1], LOG_LEVEL_INFO);
    base = event_base_new();
    int failed = cmocka_run_group_tests_name("loop_delay", tests, NULL, NULL);
    event_base_free(base);
    return failed;
}
