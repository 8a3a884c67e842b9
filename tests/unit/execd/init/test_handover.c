/* The list of cgroup descriptors in the environment. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/init/handover.h"

static void test_names_numbers_and_versions(void **state)
{
    struct cgroup_dirs d;
    struct err err;
    (void)state;
    assert_int_equal(handover_parse("memory:5,cpu:6,blkio:7,unified:12+v2", &d, &err), 0);
    assert_int_equal(d.fd[CGROUP_MEMORY], 5);
    assert_int_equal(d.fd[CGROUP_CPU], 6);
    assert_int_equal(d.fd[CGROUP_IO], 7);
    assert_int_equal(d.fd[CGROUP_UNIFIED], 12);
    assert_true(d.v2[CGROUP_UNIFIED]);
    assert_false(d.v2[CGROUP_MEMORY]);
    assert_int_equal(d.fd[CGROUP_PIDS], -1);
    assert_int_equal(handover_parse("cpu:5+v2,memory:5+v2", &d, &err), 0);
    assert_true(d.v2[CGROUP_CPU]);
    assert_int_equal(handover_parse("", &d, &err), 0);
}

static void test_malformed_lists_are_refused(void **state)
{
    static const char *const lists[] = {
        "memory",
        "memory:",
        "memory:x",
        "memory:-5",
        "memory:2",
        "memory:5+v3",
        "memory:5+v2+v2",
        "nix:5",
        ":5",
        "memory:5,,cpu",
        "memory 5",
        "memory:+5",
        "memory:5;cpu:6",
        "memory:5,memory:6",
        "io:5,blkio:6",
        "memory:99999999999",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct cgroup_dirs d;
        struct err err = {.text = ""};
        if (handover_parse(lists[i], &d, &err) != -EINVAL)
            fail_msg("accepted: %s", lists[i]);
        assert_non_null(strstr(err.text, HANDOVER_ENV));
    }
    char *endless = malloc(5000);
    struct cgroup_dirs d;
    struct err err;
    memset(endless, 'a', 4999);
    endless[4999] = '\0';
    assert_int_equal(handover_parse(endless, &d, &err), -EINVAL);
    free(endless);
}

static void test_taking_duplicates_and_removes_the_variable(void **state)
{
    struct cgroup_dirs d;
    struct err err;
    char text[64];
    int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
    (void)state;
    snprintf(text, sizeof(text), "cpu:%d+v2,memory:%d+v2", dir, dir);
    setenv(HANDOVER_ENV, text, 1);
    assert_int_equal(handover_take(&d, &err), 0);
    assert_null(getenv(HANDOVER_ENV));
    assert_true(d.fd[CGROUP_CPU] >= 3 && d.fd[CGROUP_MEMORY] >= 3);
    assert_int_not_equal(d.fd[CGROUP_CPU], d.fd[CGROUP_MEMORY]);
    assert_true(fcntl(d.fd[CGROUP_CPU], F_GETFD) & FD_CLOEXEC);
    cgroup_dirs_done(&d);
    close(dir);
}

static void test_what_is_no_directory_is_refused(void **state)
{
    struct cgroup_dirs d;
    struct err err;
    char text[64];
    int file = open("/dev/null", O_RDONLY);
    (void)state;
    snprintf(text, sizeof(text), "cpu:%d", file);
    setenv(HANDOVER_ENV, text, 1);
    assert_int_equal(handover_take(&d, &err), -EBADF);
    close(file);
    assert_int_equal(handover_take(&d, &err), -EBADF);
    unsetenv(HANDOVER_ENV);
    assert_int_equal(handover_take(&d, &err), 0);
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
        assert_int_equal(d.fd[c], -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_numbers_and_versions),
        cmocka_unit_test(test_malformed_lists_are_refused),
        cmocka_unit_test(test_taking_duplicates_and_removes_the_variable),
        cmocka_unit_test(test_what_is_no_directory_is_refused),
    };
    return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
