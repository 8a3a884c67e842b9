/*
 * E05: how long a comparison with a secret takes does not depend on how much of the guess is right.
 *
 * Time itself is a poor witness on a busy machine. Instructions are an exact one: a child is stepped through the
 * comparison, and the count must be the same for every guess. Memory that is touched depends on the length alone.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/codec.h"

#define STEPS_MAX 2000000

static const char secret[SHA256_LEN + 1] = "0123456789abcdef0123456789ABCDEF";
static uint8_t secret_hash[SHA256_LEN];
static volatile bool outcome; /* the comparison must not be thrown away */

typedef bool (*compare_fn)(const char *guess);

/* As a token is compared: hashed, then the hashes. */
static bool by_hash(const char *guess)
{
    uint8_t hash[SHA256_LEN];
    codec_sha256(guess, SHA256_LEN, hash);
    return codec_equal(hash, secret_hash, SHA256_LEN);
}

static bool by_bytes(const char *guess)
{
    return codec_equal(guess, secret, SHA256_LEN);
}

/* What must not be: shows that the count would tell. */
static bool by_early_exit(const char *guess)
{
    for (size_t i = 0; i < SHA256_LEN; i++) {
        if (guess[i] != secret[i])
            return false;
    }
    return true;
}

static _Noreturn void be_stepped(compare_fn compare, const char *guess)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(1);
    (void)raise(SIGSTOP);
    outcome = compare(guess);
    (void)raise(SIGSTOP);
    _exit(0);
}

/* Instructions between the two stops. */
static long steps_of(compare_fn compare, const char *guess)
{
    int status;
    long steps = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        be_stepped(compare, guess);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    do {
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSTOPPED(status) && ++steps < STEPS_MAX);
    } while (WSTOPSIG(status) == SIGTRAP);
    assert_int_equal(WSTOPSIG(status), SIGSTOP);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return steps;
}

/* Smallest and largest count over guesses with 0 to 32 right leading bytes. */
static void measure(compare_fn compare, long *ret_least, long *ret_most)
{
    char guess[SHA256_LEN + 1];

    *ret_least = STEPS_MAX;
    *ret_most = 0;
    outcome = compare(secret); /* what is resolved at the first call is not counted */
    for (size_t right = 0; right <= SHA256_LEN; right++) {
        memset(guess, '~', SHA256_LEN);
        memcpy(guess, secret, right);
        long steps = steps_of(compare, guess);
        *ret_least = steps < *ret_least ? steps : *ret_least;
        *ret_most = steps > *ret_most ? steps : *ret_most;
    }
}

static void test_E05_every_guess_takes_the_same_instructions(void **state)
{
    long least, most;
    (void)state;

    measure(by_hash, &least, &most);
    assert_int_equal(least, most);
    measure(by_bytes, &least, &most);
    assert_int_equal(least, most);
    assert_true(least > SHA256_LEN);
}

static void test_E05_an_early_exit_would_show(void **state)
{
    long least, most;
    (void)state;

    measure(by_early_exit, &least, &most);
    assert_true(most - least >= SHA256_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_E05_every_guess_takes_the_same_instructions),
        cmocka_unit_test(test_E05_an_early_exit_would_show),
    };
    codec_sha256(secret, SHA256_LEN, secret_hash);
    return cmocka_run_group_tests_name("constant_time", tests, NULL, NULL);
}
