#include "proto/base/cgroupfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"

/*
 * A process that is just forking when its SIGKILL arrives may still bring a child to life, and the child stands in the
 * list only afterwards (hardening B02). cgroup.kill closes that race in the kernel. On v1 the freezer closes it: once
 * the group says FROZEN nothing in it forks, so one more round reaches all. Without either, a few rounds are made and
 * the caller comes back until the group is empty. Nobody is waited for while dying: that is the caller's timer.
 */
#define ROUNDS_MAX 8
#define FREEZE_MAX_NS                                                                              \
    20000000 /* a storm of forks gets its turns to freeze; a quiet group needs microseconds */
#define DEPTH_MAX 16

static void walk(int dirfd, int depth, cgroup_fn fn, void *arg)
{
    int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;

    fn(dirfd, arg);
    if (dir == NULL) {
        if (copy >= 0)
            close(copy);
        return;
    }
    while (depth > 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        cleanup_fd int child = openat(dirfd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (child >= 0)
            walk(child, depth - 1, fn, arg);
    }
    closedir(dir);
}

void cgroup_walk(int dirfd, cgroup_fn fn, void *arg)
{
    walk(dirfd, DEPTH_MAX, fn, arg);
}

/* 0 stands for a process of a pid namespace we cannot see into, and kill(0) would be our own process group. */
static unsigned signal_pid(pid_t pid, int signum)
{
    if (pid <= 0 || pid == getpid())
        return 0;
    if (signum != 0)
        (void)kill(pid, signum); /* it may be gone already */
    return 1;
}

/* A group's list may be longer than any buffer: read in pieces, numbers may straddle them. */
static unsigned each_pid(int dirfd, int signum)
{
    cleanup_fd int fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    char buf[4096];
    unsigned found = 0;
    pid_t pid = 0;
    ssize_t n;

    while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (buf[i] >= '0' && buf[i] <= '9') {
                pid = pid * 10 + (buf[i] - '0');
                continue;
            }
            found += signal_pid(pid, signum);
            pid = 0;
        }
    }
    return found;
}

static void count_group(int dirfd, void *arg)
{
    *(unsigned *)arg += each_pid(dirfd, 0);
}

static void kill_group(int dirfd, void *arg)
{
    *(unsigned *)arg += each_pid(dirfd, SIGKILL);
}

static unsigned walk_all(int dirfd, cgroup_fn fn)
{
    unsigned n = 0;

    cgroup_walk(dirfd, fn, &n);
    return n;
}

/* The first v1 hierarchy at hand, the freezer's if there is one: processes are in the child group of each. */
static int v1_dir(const struct cgroup_dirs *d)
{
    static const enum cgroup_controller order[] = {CGROUP_FREEZER, CGROUP_PIDS,    CGROUP_MEMORY,
                                                   CGROUP_CPU,     CGROUP_CPUACCT, CGROUP_IO,
                                                   CGROUP_DEVICES};

    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        if (d->fd[order[i]] >= 0 && !d->v2[order[i]])
            return d->fd[order[i]];
    return -1;
}

static int v2_dir(const struct cgroup_dirs *d)
{
    for (int c = CGROUP_UNIFIED; c >= 0; c--)
        if (d->fd[c] >= 0 && d->v2[c])
            return d->fd[c];
    return -1;
}

bool cgroup_is_empty(const struct cgroup_dirs *d)
{
    int v1 = v1_dir(d), v2 = v2_dir(d);

    return (v1 < 0 || walk_all(v1, count_group) == 0) && (v2 < 0 || walk_all(v2, count_group) == 0);
}

static bool is_frozen(int freezer)
{
    char state[16];

    return fd_slurp_at(freezer, "freezer.state", state, sizeof(state)) > 0 &&
           strcmp(state, "FROZEN\n") == 0;
}

/* Rounds until one that began when nothing could fork any more, or until the time is over. Gives the processor away
 * between rounds, for each process has to run to reach its freezing point. */
static int kill_frozen(int freezer, unsigned *most)
{
    int64_t until = clock_monotonic_ns() + FREEZE_MAX_NS;

    if (cgroup_write(freezer, "freezer.state", "FROZEN") < 0)
        return -EOPNOTSUPP;
    for (;;) {
        bool last = is_frozen(freezer) || clock_monotonic_ns() > until;
        unsigned n = walk_all(freezer, kill_group);
        *most = MAX(*most, n);
        if (n == 0 || last)
            break;
        (void)sched_yield(); /* cannot fail */
    }
    /* The signals are pending; the processes die on waking. */
    return cgroup_write(freezer, "freezer.state", "THAWED");
}

static void kill_rounds(int dirfd, unsigned *most)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        unsigned n = walk_all(dirfd, kill_group);
        *most = MAX(*most, n);
        if (n == 0)
            break;
    }
}

/* Returns whether the kernel did it. */
static bool kill_v2(int dirfd, unsigned *most)
{
    *most = walk_all(dirfd, count_group);
    if (cgroup_write(dirfd, "cgroup.kill", "1") == 0)
        return true;
    kill_rounds(dirfd, most); /* kernels before 5.14 */
    return false;
}

int cgroup_kill_all(const struct cgroup_dirs *d)
{
    int v1 = v1_dir(d), v2 = v2_dir(d), rc = -EOPNOTSUPP;
    unsigned most = 0;

    if (v1 < 0 && v2 < 0)
        return -ENODEV;
    /* Processes are members of both, so what the kernel has killed on v2 need not be frozen on v1. */
    bool done = v2 >= 0 && kill_v2(v2, &most);
    if (!done && d->fd[CGROUP_FREEZER] >= 0 && !d->v2[CGROUP_FREEZER])
        rc = kill_frozen(d->fd[CGROUP_FREEZER], &most);
    if (v1 >= 0 && rc == -EOPNOTSUPP) {
        kill_rounds(v1, &most);
        rc = 0;
    }
    return rc < 0 && rc != -EOPNOTSUPP ? rc : (int)MIN(most, (unsigned)INT_MAX);
}
