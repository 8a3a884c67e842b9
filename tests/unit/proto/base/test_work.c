/* The pool: jobs off the loop, results on it, each exactly once, with bounds. */
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/work.h"

#define N_JOBS 500

struct job {
    struct event_base *base;
    pthread_t loop;
    sem_t *gate;
    atomic_int ran, done;
    atomic_int *left; /* jobs until the loop may end */
    bool off_loop, on_loop, signals_blocked;
};

static void run(void *arg)
{
    struct job *j = arg;
    sigset_t blocked;

    if (j->gate != NULL)
        sem_wait(j->gate);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    j->signals_blocked = sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGCHLD) == 1;
    j->off_loop = pthread_equal(pthread_self(), j->loop) == 0;
    atomic_fetch_add(&j->ran, 1);
}

static void done(void *arg)
{
    struct job *j = arg;

    j->on_loop = pthread_equal(pthread_self(), j->loop) != 0;
    atomic_fetch_add(&j->done, 1);
    if (atomic_fetch_sub(j->left, 1) == 1)
        event_base_loopbreak(j->base);
}

struct fixture {
    struct event_base *base;
    struct job jobs[N_JOBS];
    atomic_int left;
    sem_t gate;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->base = event_base_new();
    sem_init(&f->gate, 0, 0);
    for (int i = 0; i < N_JOBS; i++) {
        f->jobs[i].base = f->base;
        f->jobs[i].loop = pthread_self();
        f->jobs[i].left = &f->left;
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    event_base_free(f->base);
    sem_destroy(&f->gate);
    free(f);
    return 0;
}

/* Runs the loop until every posted job is done, ten seconds at most. */
static void run_loop(struct fixture *f)
{
    static const struct timeval limit = {.tv_sec = 10};

    event_base_loopexit(f->base, &limit);
    event_base_dispatch(f->base);
    assert_int_equal(atomic_load(&f->left), 0);
}

static void test_each_job_runs_once_and_is_delivered_on_the_loop(void **state)
{
    struct fixture *f = *state;
    struct work_pool *pool = NULL;

    assert_int_equal(work_pool_new(f->base, 4, N_JOBS, &pool), 0);
    atomic_store(&f->left, N_JOBS);
    for (int i = 0; i < N_JOBS; i++)
        assert_int_equal(work_post(pool, run, done, &f->jobs[i]), 0);
    run_loop(f);
    for (int i = 0; i < N_JOBS; i++) {
        struct job *j = &f->jobs[i];
        assert_int_equal(atomic_load(&j->ran), 1);
        assert_int_equal(atomic_load(&j->done), 1);
        assert_true(j->off_loop && j->on_loop && j->signals_blocked);
    }
    work_pool_free(pool);
}

static void test_the_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct work_pool *pool = NULL;
    int posted = 0;

    assert_int_equal(work_pool_new(f->base, 2, 3, &pool), 0);
    for (int i = 0; i < 20; i++) {
        f->jobs[i].gate = &f->gate; /* nothing can finish */
        int r = work_post(pool, run, done, &f->jobs[i]);
        assert_true(r == 0 || r == -EAGAIN);
        posted += r == 0;
    }
    assert_true(posted >= 3 && posted <= 5); /* three wait, and two more when threads were quick */
    atomic_store(&f->left, posted);
    for (int i = 0; i < posted; i++)
        sem_post(&f->gate);
    run_loop(f);
    atomic_store(&f->left, 1);
    f->jobs[30].gate = NULL;
    assert_int_equal(work_post(pool, run, done, &f->jobs[30]), 0); /* room again */
    run_loop(f);
    work_pool_free(pool);
}

static void test_free_delivers_what_never_ran(void **state)
{
    struct fixture *f = *state;
    struct work_pool *pool = NULL;
    int ran = 0;

    assert_int_equal(work_pool_new(f->base, 1, 100, &pool), 0);
    atomic_store(&f->left, 1000);
    for (int i = 0; i < 10; i++) {
        f->jobs[i].gate = &f->gate;
        assert_int_equal(work_post(pool, run, done, &f->jobs[i]), 0);
    }
    for (int i = 0; i < 10; i++)
        sem_post(&f->gate);
    work_pool_free(pool);
    for (int i = 0; i < 10; i++) {
        ran += atomic_load(&f->jobs[i].ran);
        assert_int_equal(atomic_load(&f->jobs[i].done), 1);
        assert_true(f->jobs[i].on_loop);
    }
    assert_true(ran <= 10);
    work_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_job_runs_once_and_is_delivered_on_the_loop,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_queue_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_free_delivers_what_never_ran, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
