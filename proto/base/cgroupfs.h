/*
 * cgroup files by directory descriptor: which version, small reads and writes, flat-keyed values.
 *
 * Source: kernel Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/. A "controller directory" is
 * an O_PATH|O_DIRECTORY descriptor of one cgroup in one hierarchy. On v2 and on a full hybrid all
 * controllers may share one directory; on v1 each has its own. Thread rule: any thread.
 */
#pragma once

#include "proto/base/err.h"

enum cgroup_controller {
    CGROUP_CPU,     /* v1: cpu */
    CGROUP_CPUACCT, /* v1: cpuacct; v2: same directory as cpu */
    CGROUP_MEMORY,
    CGROUP_PIDS,
    CGROUP_IO,      /* v1: blkio */
    CGROUP_FREEZER, /* v1 only; v2 has cgroup.freeze in every group */
    CGROUP_DEVICES, /* v1 only */
    CGROUP_UNIFIED, /* the cgroup2 group itself, controllers or not */
    CGROUP_CONTROLLER_MAX,
};

/* One cgroup seen through all hierarchies: fd[c] is -1 where that controller is not available. */
struct cgroup_dirs {
    int fd[CGROUP_CONTROLLER_MAX];  /* owned; several may be duplicates of one directory */
    bool v2[CGROUP_CONTROLLER_MAX]; /* fd[c] lies in a cgroup2 hierarchy (v2 file names apply) */
};
void cgroup_dirs_init(struct cgroup_dirs *d); /* all -1 */
void cgroup_dirs_done(struct cgroup_dirs *d);

/* v1 hierarchy name of a controller ("memory", "blkio", ...). */
const char *cgroup_controller_name(enum cgroup_controller c);

/* Opens the calling process's own cgroup in every mounted hierarchy (from /proc/self/cgroup and
 * /proc/self/mountinfo below proc_fd). Fields stay -1 where nothing is mounted; 0 even if none is. */
int cgroup_dirs_open_self(struct cgroup_dirs *ret_dirs) must_check;

/* Child group `name` in every hierarchy of parent: made with mode 0755 where missing.
 * -errno of the first failure; what this call made is removed again. On v2 the parent's cgroup.subtree_control decides
 * which controllers the child has; that is the caller's to set. */
int cgroup_dirs_make_child(const struct cgroup_dirs *parent, const char *name,
                           struct cgroup_dirs *ret_child, struct err *err) must_check;
/* rmdir of child `name` in every hierarchy (must be empty of processes); -EBUSY while it is not. */
int cgroup_dirs_remove_child(const struct cgroup_dirs *parent, const char *name) must_check;

int cgroup_read_u64(int dirfd, const char *file,
                    uint64_t *ret_value) must_check; /* "max" → UINT64_MAX */
int cgroup_read_keyed(int dirfd, const char *file, const char *key,
                      uint64_t *ret_value) must_check; /* -ENODATA */
int cgroup_write(int dirfd, const char *file, const char *text) must_check;

/* Calls fn for the group and those below it, parents first. Groups more than sixteen below are left out, as are those that
 * cannot be opened. */
typedef void (*cgroup_fn)(int dirfd, void *arg);
void cgroup_walk(int dirfd, cgroup_fn fn, void *arg);

/* SIGKILLs every process of the group and of those below it, in the v1 and in the v2 hierarchies, so that no fork
 * escapes: cgroup.kill on v2, else freeze (where a freezer is at hand), kill each of cgroup.procs, thaw. Does not
 * wait for the dying (at most some 20 ms for a fork storm to freeze): until cgroup_is_empty says so, call again.
 * Returns the largest number of processes seen at once; -ENODEV without any directory. Spares the caller. */
int cgroup_kill_all(const struct cgroup_dirs *d) must_check;
bool cgroup_is_empty(const struct cgroup_dirs *d); /* no process in it or below */
