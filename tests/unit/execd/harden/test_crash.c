/* A21: a fault leaves one line with addresses and ends the process as the kernel would; signals from others do not. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/harden/crash.h"
#include "proto/base/fd.h"

static volatile int zero;

__attribute__((no_sanitize("address"), no_sanitize("undefined"))) static void segv(void)
{
    *(volatile char *)(uintptr_t)(16 + zero) = 1;
}

static void trap(void)
{
    __builtin_trap();
}

/* More frames than any stack has; the array keeps the compiler from turning it into a loop. */
__attribute__((no_sanitize("address"))) static int use_stack_up(int depth)
{
    volatile char page[4096];
    page[depth % 4096] = (char)depth;
    return depth < 0 ? 0 : use_stack_up(depth + 1) + page[0];
}

static void overflow(void)
{
    zero = use_stack_up(1);
}

static void sent_by_ourselves(void)
{
    kill(getpid(), SIGSEGV);
}

/* Runs cause in a child; its line and how it ended. */
static int run(void (*cause)(void), bool is_init, char *text, size_t size)
{
    int ends[2], status;
    assert_int_equal(fd_pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        if (crash_install(is_init, &err) == 0)
            cause();
        _exit(7);
    }
    close(ends[1]);
    ssize_t n = fd_read_full(ends[0], text, size - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_A21_faults_leave_a_line(void **state)
{
    static const struct {
        void (*cause)(void);
        int signum;
        const char *said;
    } rows[] = {
        {segv, SIGSEGV, "execd: fatal SIGSEGV code 1 address 0x10 version "},
        {abort, SIGABRT, "execd: fatal SIGABRT code -6 version "},
        {trap, SIGILL, "execd: fatal SIGILL code "},
        {overflow, SIGSEGV, "execd: fatal SIGSEGV code "},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[4096];
        int status = run(rows[i].cause, false, text, sizeof(text));
        if (strncmp(text, rows[i].said, strlen(rows[i].said)) != 0)
            fail_msg("row %zu: '%s'", i, text);
        const char *at = strstr(text, " at +0x");
        assert_non_null(at);
        assert_non_null(strstr(at + 7, " +0x")); /* more than one frame */
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), rows[i].signum);
        assert_false(WCOREDUMP(status));
    }
}

static void test_init_takes_no_fault_from_inside(void **state)
{
    char text[4096];
    (void)state;
    int status = run(sent_by_ourselves, true, text, sizeof(text));
    assert_string_equal(text, "");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    status = run(sent_by_ourselves, false, text, sizeof(text));
    assert_non_null(strstr(text, "fatal SIGSEGV code 0 version"));
    assert_true(WIFSIGNALED(status));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A21_faults_leave_a_line),
        cmocka_unit_test(test_init_takes_no_fault_from_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
