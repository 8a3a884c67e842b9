/* Requests to a kernel beside its protocol: what the answer is when several things have happened before anybody looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/code/askline.h"

struct fixture {
    struct event_base *base;
    struct askline *line;
    int kernel; /* its end */
    unsigned n_answers;
    char answer[600]; /* "" = done */
};

static int set_up(void **state)
{
    static struct fixture f;
    int pair[2];
    f = (struct fixture){.base = event_base_new()};
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    f.kernel = pair[1];
    f.line = askline_new(f.base, pair[0]);
    assert_non_null(f.line);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    askline_free(f->line);
    if (f->kernel >= 0)
        close(f->kernel);
    event_base_free(f->base);
    return 0;
}

static void on_answer(void *arg, const char *why)
{
    struct fixture *f = arg;
    f->n_answers++;
    (void)snprintf(f->answer, sizeof(f->answer), "%s", why ? why : "");
}

static void ask(struct fixture *f, int limit_ms)
{
    char request[8];
    assert_int_equal(askline_ask(f->line, "?", 1, NULL, 0, limit_ms, on_answer, f), 0);
    assert_int_equal(recv(f->kernel, request, sizeof(request), 0), 1);
}

static void say(const struct fixture *f, const char *word)
{
    assert_int_equal(send(f->kernel, word, strlen(word), 0), strlen(word));
}

static void pass_limit(void)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    assert_int_equal(nanosleep(&pause, NULL), 0);
}

static void expect(struct fixture *f, const char *answer)
{
    assert_int_equal(event_base_loop(f->base, EVLOOP_ONCE), 0);
    assert_int_equal(f->n_answers, 1);
    assert_string_equal(f->answer, answer);
    assert_int_not_equal(event_base_loop(f->base, EVLOOP_NONBLOCK), 0); /* nothing is waited for */
    assert_int_equal(f->n_answers, 1);
}

static void an_answer_in_time_counts_although_it_is_seen_behind_the_limit(void **state)
{
    struct fixture *f = *state;
    ask(f, 1);
    say(f, "ok");
    pass_limit();
    expect(f, "");
}

static void so_does_a_refusal(void **state)
{
    struct fixture *f = *state;
    ask(f, 1);
    say(f, "error: no");
    pass_limit();
    expect(f, "error: no");
}

static void an_answer_comes_before_the_end_behind_it(void **state)
{
    struct fixture *f = *state;
    ask(f, 60000);
    say(f, "ok");
    close(f->kernel);
    f->kernel = -1;
    expect(f, "");
}

static void an_end_seen_behind_the_limit_is_an_end(void **state)
{
    struct fixture *f = *state;
    ask(f, 1);
    close(f->kernel);
    f->kernel = -1;
    pass_limit();
    expect(f, "the kernel has ended");
}

static void no_answer_is_told(void **state)
{
    struct fixture *f = *state;
    ask(f, 1);
    expect(f, "no answer in time");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            an_answer_in_time_counts_although_it_is_seen_behind_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(so_does_a_refusal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_comes_before_the_end_behind_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_end_seen_behind_the_limit_is_an_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_answer_is_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
