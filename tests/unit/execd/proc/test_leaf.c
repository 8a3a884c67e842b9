/* Leaves whose groups cannot be removed yet: plain directories stand for the groups, a file inside keeps one busy. */
/* link: -Wl,--wrap=unlinkat */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/proc/leaf.h"
#include "proto/base/cgroupfs.h"
#include "proto/base/fd.h"

#define N 100

int __real_unlinkat(int dir, const char *path, int flags);
int __wrap_unlinkat(int dir, const char *path, int flags);

static int removals;
static char folder[] = "/tmp/execd-leaf-XXXXXX";

int __wrap_unlinkat(int dir, const char *path, int flags)
{
    removals++;
    return __real_unlinkat(dir, path, flags);
}

static void make_group(const char *path)
{
    char full[128];
    snprintf(full, sizeof(full), "%s/%s", folder, path);
    assert_int_equal(mkdir(full, 0700), 0);
    snprintf(full, sizeof(full), "%s/%s/tasks", folder, path);
    int fd = open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static bool is_there(const char *path)
{
    char full[128];
    snprintf(full, sizeof(full), "%s/%s", folder, path);
    return access(full, F_OK) == 0;
}

static void drop(const char *path)
{
    char full[128];
    snprintf(full, sizeof(full), "%s/%s", folder, path);
    assert_int_equal(unlink(full), 0);
}

/* A run that leaves its group behind with something in it. */
static void run_one(int i)
{
    char path[32];
    struct leaf *leaf;
    struct err err;
    snprintf(path, sizeof(path), "work/n-%d", i + 1); /* the name that it gets */
    make_group(path);
    assert_int_equal(leaf_new("n", &leaf, &err), 0);
    leaf_free(leaf);
    assert_true(is_there(path));
}

static void test_a_new_leaf_costs_no_more_with_many_left(void **state)
{
    struct cgroup_dirs handed;
    char path[32];
    int left = 0;
    (void)state;
    assert_non_null(mkdtemp(folder));
    make_group("init");
    snprintf(path, sizeof(path), "%s/work", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    cgroup_dirs_init(&handed);
    handed.fd[CGROUP_MEMORY] = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    leaf_setup(&handed);
    assert_true(leaf_has_groups());
    for (int i = 0; i < N; i++)
        run_one(i);

    removals = 0;
    run_one(N);
    assert_in_range(removals, 2, 10); /* its own, and some of the others */

    /* What was busy goes with later ones, whichever they are. */
    for (int i = 1; i <= N; i += 2) {
        snprintf(path, sizeof(path), "work/n-%d/tasks", i + 1);
        drop(path);
    }
    for (int i = N + 1; i < 2 * N; i++)
        run_one(i);
    for (int i = 1; i <= N; i += 2) {
        snprintf(path, sizeof(path), "work/n-%d", i + 1);
        left += is_there(path);
    }
    assert_int_equal(left, 0);

    for (int i = 0; i < 2 * N; i++) {
        snprintf(path, sizeof(path), "work/n-%d/tasks", i + 1);
        if (i % 2 == 0 || i > N)
            drop(path);
    }
    drop("init/tasks");
    leaf_teardown();
    assert_false(is_there("work"));
    snprintf(path, sizeof(path), "%s/init", folder);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_leaf_costs_no_more_with_many_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
