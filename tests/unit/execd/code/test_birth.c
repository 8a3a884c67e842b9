/* A process that another one forks for us: what is told of it when several things have happened before anybody looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "execd/code/birth.c" /* its limit is too long to wait for */

struct fixture {
    struct event_base *base;
    struct leaf *leaf;
    int server[2];
    struct birth *birth;
    int talk; /* the newborn's end */
    unsigned n_told;
    pid_t pid;
    char why[600];
};

static void on_born(void *arg, pid_t pid, const char *why)
{
    struct fixture *f = arg;
    f->n_told++;
    f->pid = pid;
    (void)snprintf(f->why, sizeof(f->why), "%s", why ? why : "");
}

/* The request's descriptor is the newborn's end. */
static int take_request(int server)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * (PLAN_CGROUPS_MAX + 2))];
    char text[1024];
    int talk;
    struct iovec iov = {text, sizeof(text)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    assert_true(recvmsg(server, &msg, MSG_CMSG_CLOEXEC) > 0);
    assert_non_null(CMSG_FIRSTHDR(&msg));
    memcpy(&talk, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(talk));
    return talk;
}

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.base = event_base_new()};
    assert_int_equal(reaper_init(f.base, NULL), 0);
    assert_int_equal(leaf_new("newborn", &f.leaf, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, f.server), 0);
    assert_int_equal(
        birth_ask(f.base, f.server[0], json_object(), f.leaf, -1, on_born, &f, &f.birth), 0);
    f.talk = take_request(f.server[1]);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close(f->server[0]);
    close(f->server[1]);
    leaf_free(f->leaf);
    reaper_done();
    event_base_free(f->base);
    return 0;
}

static void say(int talk, const char *word)
{
    assert_int_equal(send(talk, word, strlen(word), 0), strlen(word));
}

/* As libevent does, whatever has arrived by then. */
static void pass_limit(const struct fixture *f)
{
    event_active(f->birth->event, EV_TIMEOUT, 0);
}

static void expect(struct fixture *f, const char *why)
{
    assert_int_equal(event_base_loop(f->base, EVLOOP_NONBLOCK), 0);
    assert_int_equal(f->n_told, 1);
    assert_int_equal(f->pid, 0);
    assert_string_equal(f->why, why);
}

static void what_was_said_counts_although_it_is_seen_behind_the_limit(void **state)
{
    struct fixture *f = *state;
    say(f->talk, "error: no memory");
    close(f->talk);
    pass_limit(f);
    expect(f, "error: no memory");
}

static void an_end_seen_behind_the_limit_is_an_end(void **state)
{
    struct fixture *f = *state;
    close(f->talk);
    pass_limit(f);
    expect(f, "the new process ended before it was there");
}

static void silence_is_told(void **state)
{
    struct fixture *f = *state;
    pass_limit(f);
    expect(f, "no answer in time");
    close(f->talk);
}

static pid_t child_that_says_here(const struct fixture *f)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(send(f->talk, "here", 4, 0) != 4);
    close(f->talk);
    return pid;
}

static void one_that_comes_before_the_limit_and_is_seen_behind_it_lives(void **state)
{
    struct fixture *f = *state;
    siginfo_t info;
    pid_t pid = child_that_says_here(f);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0); /* it has been said */
    on_talk(f->birth->fd, EV_TIMEOUT, f->birth);
    assert_int_equal(f->n_told, 1);
    assert_int_equal(f->pid, pid);
    close(birth_go(f->birth));
    reaper_forget(pid);
    assert_false(reaper_run());
}

static void
one_that_has_ended_and_was_reaped_before_its_word_is_read_is_not_told_as_here(void **state)
{
    struct fixture *f = *state;
    siginfo_t info;
    pid_t pid = child_that_says_here(f);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(reaper_run()); /* the signal first */
    expect(f, "the new process ended before it was there");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_said_counts_although_it_is_seen_behind_the_limit,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_end_seen_behind_the_limit_is_an_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silence_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_comes_before_the_limit_and_is_seen_behind_it_lives,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            one_that_has_ended_and_was_reaped_before_its_word_is_read_is_not_told_as_here, set_up,
            tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
