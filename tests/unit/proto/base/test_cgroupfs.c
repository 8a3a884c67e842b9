/* cgroups: parsing what /proc says on v1, hybrid and v2; then a live child group where this machine allows it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/cgroupfs.h"
#include "proto/base/cgroupfs_priv.h"
#include "proto/base/cleanup.h"
#include "proto/base/clock.h"

struct folder_row {
    const char *cgroups, *mounts, *name;
    const char *folder; /* NULL: not to be seen */
};

#define V1_MOUNTS                                                                                  \
    "30 23 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"                          \
    "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"  \
    "32 30 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:10 master:3 - cgroup cgroup rw,memory\n"  \
    "33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"               \
    "34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"

static const struct folder_row rows[] = {
    /* v1 with joined controllers, plus an empty cgroup2 */
    {"4:cpu,cpuacct:/a\n3:memory:/m/x\n1:name=systemd:/s\n0::/u\n", V1_MOUNTS, "cpu",
     "/sys/fs/cgroup/cpu,cpuacct/a"},
    {"4:cpu,cpuacct:/a\n3:memory:/m/x\n0::/u\n", V1_MOUNTS, "cpuacct",
     "/sys/fs/cgroup/cpu,cpuacct/a"},
    {"4:cpu,cpuacct:/a\n3:memory:/m/x\n0::/u\n", V1_MOUNTS, "memory", "/sys/fs/cgroup/memory/m/x"},
    {"4:cpu,cpuacct:/a\n3:memory:/m/x\n0::/u\n", V1_MOUNTS, "", "/sys/fs/cgroup/unified/u"},
    {"4:cpu,cpuacct:/\n", V1_MOUNTS, "cpu", "/sys/fs/cgroup/cpu,cpuacct"},
    {"4:cpu,cpuacct:/a\n", V1_MOUNTS, "pids", NULL},
    {"4:cpu,cpuacct:/a\n", V1_MOUNTS, "memory",
     NULL},                                    /* mounted, but the process says nothing of it */
    {"4:pids:/a\n", V1_MOUNTS, "pids", NULL},  /* the other way round */
    {"4:cpuset:/a\n", V1_MOUNTS, "cpu", NULL}, /* a prefix of a name is another name */
    {"3:memory:/with:colon\n", V1_MOUNTS, "memory", "/sys/fs/cgroup/memory/with:colon"},
    /* pure v2 */
    {"0::/user.slice/x.scope\n", "25 20 0:22 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
     "", "/sys/fs/cgroup/user.slice/x.scope"},
    {"0::/user.slice\n", "25 20 0:22 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n", "memory",
     NULL},
    /* a container without a cgroup namespace: the mount's root is its own group */
    {"3:memory:/docker/abc\n",
     "9 8 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "memory",
     "/sys/fs/cgroup/memory"},
    {"3:memory:/docker/abc/in\n",
     "9 8 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "memory",
     "/sys/fs/cgroup/memory/in"},
    {"3:memory:/docker/abcd\n",
     "9 8 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "memory", NULL},
    {"3:memory:/other\n",
     "9 8 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "memory", NULL},
    /* a cgroup namespace seen from beside it, and a mount that was made outside it */
    {"0::/../sibling\n", "9 8 0:1 / /cg rw - cgroup2 none rw\n", "", NULL},
    {"0::/a/../../b\n", "9 8 0:1 / /cg rw - cgroup2 none rw\n", "", NULL},
    {"0::/..\n", "9 8 0:1 / /cg rw - cgroup2 none rw\n", "", NULL},
    {"0::/../x\n", "9 8 0:1 /.. /cg rw - cgroup2 none rw\n", "", "/cg/x"},
    {"0::/..\n", "9 8 0:1 /.. /cg rw - cgroup2 none rw\n", "", "/cg"},
    {"0::/../../x\n", "9 8 0:1 /.. /cg rw - cgroup2 none rw\n", "", NULL},
    {"0::/\n", "9 8 0:1 /../.. /cg rw - cgroup2 none rw\n", "", NULL},
    {"0::/..x\n", "9 8 0:1 / /cg rw - cgroup2 none rw\n", "", "/cg/..x"}, /* only a name */
    /* escapes, optional fields that look like the dash, no last newline */
    {"0::/g", "9 8 0:1 / /my\\040cg\\134 rw unbindable - cgroup2 none rw", "", "/my cg\\/g"},
    {"0::/g", "9 8 0:1 / /a-b rw - cgroup2 a-b rw", "", "/a-b/g"},
    /* broken lines are passed over */
    {"x\n0:\n0::/g\n", "1 2 3\n\n - \n9 8 0:1 / /cg rw - cgroup2 none rw\n", "", "/cg/g"},
    {"", "", "", NULL},
    {"0::/g", "", "", NULL},
};

static void test_own_folder(void **state)
{
    (void)state;
    char out[PATH_MAX];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int r = cgroup_own_folder(rows[i].cgroups, rows[i].mounts, rows[i].name, out);
        if (r != (rows[i].folder != NULL ? 0 : -ENOENT))
            fail_msg("row %zu: %d", i, r);
        if (r == 0)
            assert_string_equal(out, rows[i].folder);
    }
}

static void test_paths_that_are_too_long(void **state)
{
    (void)state;
    char text[PATH_MAX + 64], out[PATH_MAX];
    int n = snprintf(text, sizeof(text), "0::/%0*d", PATH_MAX, 0);

    assert_true(n > PATH_MAX);
    assert_int_equal(cgroup_parse_own_path(text, "", out), -ENAMETOOLONG);
    text[PATH_MAX + 2] = '\0'; /* itself allowed, but not behind a mount point */
    assert_int_equal(cgroup_parse_own_path(text, "", out), 0);
    assert_int_equal(cgroup_own_folder(text, "9 8 0:1 / /cg rw - cgroup2 none rw", "", out),
                     -ENAMETOOLONG);
}

static void test_every_controller_has_a_name(void **state)
{
    (void)state;
    for (int c = 0; c < CGROUP_UNIFIED; c++)
        assert_true(strlen(cgroup_controller_name((enum cgroup_controller)c)) > 1);
    assert_string_equal(cgroup_controller_name(CGROUP_IO), "blkio");
    assert_string_equal(cgroup_controller_name(CGROUP_UNIFIED), "");
}

/* ---- files, on an ordinary folder ---- */

struct files {
    char folder[64];
    int dir;
};

static int set_up_files(void **state)
{
    static struct files f;

    memcpy(f.folder, "/tmp/test_cgroup.XXXXXX", sizeof("/tmp/test_cgroup.XXXXXX"));
    if (mkdtemp(f.folder) == NULL)
        return -1;
    f.dir = open(f.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = &f;
    return 0;
}

static int tear_down_files(void **state)
{
    struct files *f = *state;

    (void)unlinkat(f->dir, "file", 0);
    close(f->dir);
    return rmdir(f->folder);
}

static void put(int dir, const char *text)
{
    cleanup_fd int fd = openat(dir, "file", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void test_values(void **state)
{
    struct files *f = *state;
    uint64_t value = 0;

    put(f->dir, "12345\n");
    assert_int_equal(cgroup_read_u64(f->dir, "file", &value), 0);
    assert_true(value == 12345);
    put(f->dir, "max\n");
    assert_int_equal(cgroup_read_u64(f->dir, "file", &value), 0);
    assert_true(value == UINT64_MAX);
    put(f->dir, "max 100000\n");
    assert_int_equal(cgroup_read_u64(f->dir, "file", &value), -EINVAL);
    put(f->dir, "");
    assert_int_equal(cgroup_read_u64(f->dir, "file", &value), -EINVAL);
    assert_int_equal(cgroup_read_u64(f->dir, "none", &value), -ENOENT);
    put(f->dir, "oom 1\noom_kill 7\nlast 9");
    assert_int_equal(cgroup_read_keyed(f->dir, "file", "oom_kill", &value), 0);
    assert_true(value == 7);
    assert_int_equal(cgroup_read_keyed(f->dir, "file", "oom", &value), 0);
    assert_true(value == 1);
    assert_int_equal(cgroup_read_keyed(f->dir, "file", "last", &value), 0);
    assert_true(value == 9);
    assert_int_equal(cgroup_read_keyed(f->dir, "file", "kill", &value), -ENODATA);
    assert_int_equal(cgroup_read_keyed(f->dir, "file", "", &value), -ENODATA);
    assert_int_equal(cgroup_write(f->dir, "file", "1"), 0);
    assert_int_equal(cgroup_write(f->dir, "none", "1"), -ENOENT);
}

static void test_names_of_children(void **state)
{
    struct files *f = *state;
    static const char *const bad[] = {"", ".", "..", "a/b", "/a", "../x"};
    struct cgroup_dirs parent, child;
    struct err err = {0};

    cgroup_dirs_init(&parent);
    parent.fd[CGROUP_PIDS] = dup(f->dir);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(cgroup_dirs_make_child(&parent, bad[i], &child, &err), -EINVAL);
        assert_int_equal(cgroup_dirs_remove_child(&parent, bad[i]), -EINVAL);
    }
    cgroup_dirs_done(&parent);
}

/* Of two hierarchies the second refuses: what was made in the first goes, what had been there stays. */
static void test_make_child_leaves_nothing_behind(void **state)
{
    struct files *f = *state;
    struct cgroup_dirs parent, child;
    struct err err = {0};
    struct stat st;

    cgroup_dirs_init(&parent);
    parent.fd[CGROUP_CPU] = dup(f->dir);
    parent.fd[CGROUP_PIDS] = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(cgroup_dirs_make_child(&parent, "child", &child, &err) < 0);
    assert_non_null(strstr(err.text, "child"));
    assert_non_null(strstr(err.text, "pids"));
    assert_int_equal(fstatat(f->dir, "child", &st, 0), -1);
    assert_int_equal(mkdirat(f->dir, "child", 0755), 0);
    assert_true(cgroup_dirs_make_child(&parent, "child", &child, &err) < 0);
    assert_int_equal(unlinkat(f->dir, "child", AT_REMOVEDIR), 0);
    cgroup_dirs_done(&parent);
}

static void test_two_controllers_in_one_directory(void **state)
{
    struct files *f = *state;
    struct cgroup_dirs parent, child;
    struct err err = {0};

    cgroup_dirs_init(&parent);
    parent.fd[CGROUP_CPU] = dup(f->dir);
    parent.fd[CGROUP_CPUACCT] = dup(f->dir);
    parent.v2[CGROUP_CPU] = true;
    assert_int_equal(cgroup_dirs_make_child(&parent, "child", &child, &err), 0);
    assert_true(child.fd[CGROUP_CPU] >= 0 && child.fd[CGROUP_CPUACCT] >= 0 &&
                child.fd[CGROUP_MEMORY] == -1);
    assert_true(child.v2[CGROUP_CPU] && !child.v2[CGROUP_CPUACCT]);
    cgroup_dirs_done(&child);
    assert_int_equal(cgroup_dirs_remove_child(&parent, "child"), 0);
    assert_int_equal(cgroup_dirs_remove_child(&parent, "child"), 0); /* gone is removed */
    cgroup_dirs_done(&parent);
}

/* ---- live ---- */

struct live {
    struct cgroup_dirs self, child;
    char name[32];
};

/* Skips with a reason where this machine gives no group to write to. */
static void open_live(struct live *l)
{
    struct err err = {0};

    if (geteuid() != 0) {
        print_message("SKIP: making a cgroup needs root\n");
        skip();
    }
    assert_int_equal(cgroup_dirs_open_self(&l->self), 0);
    snprintf(l->name, sizeof(l->name), "test-%d", getpid());
    int r = cgroup_dirs_make_child(&l->self, l->name, &l->child, &err);
    if (r == -EROFS || r == -EACCES || r == -EPERM) {
        cgroup_dirs_done(&l->self);
        print_message("SKIP: %s\n", err.text);
        skip();
    }
    assert_int_equal(r, 0);
}

static bool has_any(const struct cgroup_dirs *d)
{
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
        if (d->fd[c] >= 0)
            return true;
    return false;
}

static void close_live(struct live *l)
{
    int r = -EBUSY;

    cgroup_dirs_done(&l->child);
    /* A dead process leaves its group a moment after it was waited for. */
    for (int64_t until = clock_monotonic_ms() + 2000; r == -EBUSY && clock_monotonic_ms() < until;)
        r = cgroup_dirs_remove_child(&l->self, l->name);
    assert_int_equal(r, 0);
    cgroup_dirs_done(&l->self);
}

static void join(const struct cgroup_dirs *d)
{
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
        if (d->fd[c] >= 0 && cgroup_write(d->fd[c], "cgroup.procs", "0") < 0)
            _exit(1);
}

static void test_live_child_is_made_and_removed(void **state)
{
    (void)state;
    struct live l;

    open_live(&l);
    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
        assert_true((l.child.fd[c] >= 0) == (l.self.fd[c] >= 0));
    assert_true(cgroup_is_empty(&l.child));
    if (has_any(&l.child))
        assert_int_equal(cgroup_kill_all(&l.child), 0);
    else
        assert_int_equal(cgroup_kill_all(&l.child), -ENODEV);
    close_live(&l);
}

/* Forks without end; each child does the same. The limit on processor time ends a storm that outlives its test. */
static void fork_storm(void)
{
    static const struct rlimit two_seconds = {.rlim_cur = 2, .rlim_max = 2};

    if (setrlimit(RLIMIT_CPU, &two_seconds) < 0)
        _exit(1);
    for (;;)
        if (fork() < 0)
            (void)sched_yield();
}

static void limit_pids(const struct cgroup_dirs *d)
{
    if (d->fd[CGROUP_PIDS] >= 0)
        (void)!cgroup_write(d->fd[CGROUP_PIDS], "pids.max", "40");
}

static void await_pids(const struct cgroup_dirs *d, uint64_t low, uint64_t high)
{
    int64_t until = clock_monotonic_ms() + 10000;
    uint64_t n = UINT64_MAX;

    do
        assert_int_equal(cgroup_read_u64(d->fd[CGROUP_PIDS], "pids.current", &n), 0);
    while ((n < low || n > high) && clock_monotonic_ms() < until);
    assert_true(n >= low && n <= high);
}

/* Hides hierarchies, so that each way of killing is tried: cgroup.kill, the freezer, and neither. */
enum way { WAY_AS_FOUND, WAY_FREEZER, WAY_ROUNDS };

static void hide(struct cgroup_dirs *d, enum cgroup_controller c)
{
    if (d->fd[c] >= 0)
        close(d->fd[c]);
    d->fd[c] = -1;
}

static void storm_and_kill(enum way way)
{
    struct live l;

    open_live(&l);
    if (way != WAY_AS_FOUND)
        hide(&l.child, CGROUP_UNIFIED);
    if (way == WAY_ROUNDS)
        hide(&l.child, CGROUP_FREEZER);
    if (l.child.fd[CGROUP_PIDS] < 0) {
        close_live(&l);
        print_message("SKIP: without a pids limit a fork storm is no test\n");
        skip();
    }
    for (int round = 0; round < 3; round++) {
        limit_pids(&l.child);
        await_pids(&l.child, 0, 0); /* the last round's dead are still counted for a while */
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            join(&l.child);
            fork_storm();
        }
        await_pids(&l.child, 30, UINT64_MAX);
        int64_t started = clock_monotonic_ms();
        do
            assert_true(cgroup_kill_all(&l.child) >= 0);
        while (!cgroup_is_empty(&l.child) && clock_monotonic_ms() - started < 2000);
        assert_true(cgroup_is_empty(&l.child));
        assert_true(clock_monotonic_ms() - started < 2000);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    close_live(&l);
}

static void test_B02_no_fork_escapes_the_killer(void **state)
{
    (void)state;
    storm_and_kill(WAY_AS_FOUND);
}

static void test_B02_no_fork_escapes_the_freezer(void **state)
{
    (void)state;
    storm_and_kill(WAY_FREEZER);
}

static void test_B02_no_fork_escapes_repeated_rounds(void **state)
{
    (void)state;
    storm_and_kill(WAY_ROUNDS);
}

static void test_kill_reaches_groups_below_and_spares_the_caller(void **state)
{
    (void)state;
    struct live l;
    struct cgroup_dirs below;
    struct err err = {0};
    int status = 0;

    open_live(&l);
    if (!has_any(&l.child)) {
        close_live(&l);
        print_message("SKIP: no cgroup hierarchy is mounted\n");
        skip();
    }
    assert_int_equal(cgroup_dirs_make_child(&l.child, "below", &below, &err), 0);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        join(&below);
        (void)!write(ready[1], "x", 1);
        pause();
        _exit(0);
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_false(cgroup_is_empty(&l.child));
    assert_int_equal(cgroup_kill_all(&l.child), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(ready[0]);
    close(ready[1]);
    cgroup_dirs_done(&below);
    int r = -EBUSY;
    for (int64_t until = clock_monotonic_ms() + 2000; r == -EBUSY && clock_monotonic_ms() < until;)
        r = cgroup_dirs_remove_child(&l.child, "below");
    assert_int_equal(r, 0);
    close_live(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_folder),
        cmocka_unit_test(test_paths_that_are_too_long),
        cmocka_unit_test(test_every_controller_has_a_name),
        cmocka_unit_test_setup_teardown(test_values, set_up_files, tear_down_files),
        cmocka_unit_test_setup_teardown(test_names_of_children, set_up_files, tear_down_files),
        cmocka_unit_test_setup_teardown(test_make_child_leaves_nothing_behind, set_up_files,
                                        tear_down_files),
        cmocka_unit_test_setup_teardown(test_two_controllers_in_one_directory, set_up_files,
                                        tear_down_files),
        cmocka_unit_test(test_live_child_is_made_and_removed),
        cmocka_unit_test(test_B02_no_fork_escapes_the_killer),
        cmocka_unit_test(test_B02_no_fork_escapes_the_freezer),
        cmocka_unit_test(test_B02_no_fork_escapes_repeated_rounds),
        cmocka_unit_test(test_kill_reaches_groups_below_and_spares_the_caller),
    };
    return cmocka_run_group_tests_name("cgroupfs", tests, NULL, NULL);
}
