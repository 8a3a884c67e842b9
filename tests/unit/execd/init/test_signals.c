/* Whom PID 1 believes, and what each signal does. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "execd/init/signals.h"

static void test_A08_pid1_believes_only_the_outside(void **state)
{
    (void)state;
    assert_true(signals_is_trusted(true, SI_USER, 0));
    assert_false(signals_is_trusted(true, SI_USER, 17));
    /* rt_sigqueueinfo from inside can claim pid 0, but not SI_USER. */
    assert_false(signals_is_trusted(true, SI_QUEUE, 0));
    assert_false(signals_is_trusted(true, SI_TKILL, 0));
    assert_false(signals_is_trusted(true, SI_KERNEL, 0));
}

static void test_others_are_believed_outside_pid1(void **state)
{
    (void)state;
    assert_true(signals_is_trusted(false, SI_USER, 17));
    assert_true(signals_is_trusted(false, SI_QUEUE, 17));
}

static void test_every_signal_has_its_action(void **state)
{
    (void)state;
    for (int signum = 1; signum <= 64; signum++) {
        enum signal_action action = signals_action(signum);
        if (signum == SIGTERM || signum == SIGINT)
            assert_int_equal(action, SIGNAL_SHUTDOWN);
        else if (signum == SIGHUP || signum == SIGQUIT || signum == SIGUSR1 || signum == SIGUSR2 ||
                 signum == SIGWINCH)
            assert_int_equal(action, SIGNAL_FORWARD);
        else
            assert_int_equal(action, SIGNAL_IGNORE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A08_pid1_believes_only_the_outside),
        cmocka_unit_test(test_others_are_believed_outside_pid1),
        cmocka_unit_test(test_every_signal_has_its_action),
    };
    return cmocka_run_group_tests_name("signals", tests, NULL, NULL);
}
