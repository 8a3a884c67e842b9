#include "server/runtime/native/groups.h"

#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* A host that has memory and cpu, and no pids controller. */
static void make_host(struct groups *g)
{
    static char memory[] = "/cg/memory/execd", cpu[] = "/cg/cpu,cpuacct/execd",
                why[] = "no pids here";

    *g = (struct groups){.path = {NULL}};
    cgroup_dirs_init(&g->parent);
    g->parent.fd[CGROUP_MEMORY] = 100;
    g->parent.fd[CGROUP_CPU] = g->parent.fd[CGROUP_CPUACCT] = 101;
    g->path[CGROUP_MEMORY] = memory;
    g->path[CGROUP_CPU] = g->path[CGROUP_CPUACCT] = cpu;
    g->why[CGROUP_PIDS] = why;
}

static void test_limits_that_can_be_applied(void **state)
{
    struct groups g;
    struct err err = {0};
    const struct group_limits good[] = {{0},
                                        {.memory_bytes = 64 << 20},
                                        {.millicpu = 10},
                                        {.memory_bytes = 1 << 30, .millicpu = 4000}};

    (void)state;
    make_host(&g);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(groups_check(&g, &good[i], &err), 0);
}

static void test_limits_that_make_no_sense(void **state)
{
    struct groups g;
    struct err err = {0};

    (void)state;
    make_host(&g);
    assert_int_equal(groups_check(&g, &(struct group_limits){.memory_bytes = 1 << 20}, &err),
                     -EINVAL);
    assert_int_equal(err.code, ERR_INVALID_PARAMETER);
    assert_int_equal(groups_check(&g, &(struct group_limits){.millicpu = 9}, &err), -EINVAL);
}

static void test_a_limit_without_controller_is_refused_with_the_reason(void **state)
{
    struct groups g;
    struct err err = {0};

    (void)state;
    make_host(&g);
    assert_int_equal(groups_check(&g, &(struct group_limits){.pids = 100}, &err), -EOPNOTSUPP);
    assert_int_equal(err.code, ERR_LIMIT_UNAVAILABLE);
    assert_non_null(strstr(err.text, "no pids here"));
}

static void test_each_directory_is_named_once(void **state)
{
    struct groups g;
    struct arena arena;
    struct jstrings paths;

    (void)state;
    make_host(&g);
    arena_init(&arena);
    assert_int_equal(groups_paths(&g, "x", &arena, &paths), 0);
    assert_int_equal(paths.n, 2);
    assert_string_equal(paths.items[0], "/cg/cpu,cpuacct/execd/x");
    assert_string_equal(paths.items[1], "/cg/memory/execd/x");
    arena_done(&arena);
}

static void test_a_group_that_is_not_there(void **state)
{
    const char *items[] = {"/proc/no/such/group", NULL};
    struct jstrings paths = {items, 1};

    (void)state;
    assert_int_equal(group_kill(&paths), 0);
    assert_int_equal(group_remove(&paths), 0);
    assert_int_equal(group_freeze(&paths, true), -EOPNOTSUPP);
    assert_false(group_had_oom(&paths));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_that_can_be_applied),
        cmocka_unit_test(test_limits_that_make_no_sense),
        cmocka_unit_test(test_a_limit_without_controller_is_refused_with_the_reason),
        cmocka_unit_test(test_each_directory_is_named_once),
        cmocka_unit_test(test_a_group_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
