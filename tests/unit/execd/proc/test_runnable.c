/* Which processes would go on if they had a CPU: the states, and threads that sleep or spin. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/proc/runnable.h"

static void test_states(void **state)
{
    (void)state;
    assert_true(proc_state_is_runnable("7 (a) R 1 7"));
    assert_true(proc_state_is_runnable("7 (a) D 1 7"));
    assert_false(proc_state_is_runnable("7 (a) S 1 7"));
    assert_false(proc_state_is_runnable("7 (a) T 1 7"));
    assert_false(proc_state_is_runnable("7 (a) R) S 1 7")); /* a name that lies */
    assert_false(proc_state_is_runnable("7 (a)"));
    assert_false(proc_state_is_runnable(""));
}

static atomic_bool stop;

static void *spin(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop))
        ;
    return NULL;
}

static void test_N04_threads_beside_the_caller_count(void **state)
{
    pthread_t thread;
    (void)state;

    assert_false(proc_is_runnable(getpid()));
    assert_int_equal(pthread_create(&thread, NULL, spin, NULL), 0);
    assert_true(proc_is_runnable(getpid()));
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(proc_is_runnable(0));
    assert_false(proc_is_runnable(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_N04_threads_beside_the_caller_count),
    };
    return cmocka_run_group_tests_name("runnable", tests, NULL, NULL);
}
