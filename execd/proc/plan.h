/*
 * Everything a child needs, as data, resolved before the fork.
 *
 * Between clone and exec the child only walks this plan with raw system calls in the order of the fields; it
 * does not allocate, lock or log (style.md, "PID 1 and processes"). All pointers are borrowed from the caller
 * for the time of spawn_process. Thread rule: loop thread only.
 */
#pragma once

#include <sys/resource.h>

#include "proto/base/defs.h"

#define PLAN_FDS_MAX 12
/* For what clients run: a little above the agent's own, so that a hog dies before PID 1 where the kernel has to choose. */
#define PLAN_OOM_SCORE_ADJ 100
#define PLAN_GROUPS_MAX 64
#define PLAN_CGROUPS_MAX 8
#define PLAN_RLIMITS_MAX 16

struct sock_fprog;

struct plan_fd {
    int source; /* parent's descriptor; -1 = /dev/null */
    int target; /* number in the child */
};

struct plan_rlimit {
    int resource; /* RLIMIT_* */
    struct rlimit limit;
};

struct spawn_plan {
    const char
        *file; /* absolute path to execute, or NULL: the first of `candidates` that executes */
    const char *const *
        candidates; /* absolute paths tried in turn (PATH search done by the caller), NULL-terminated */
    const char *const *argv; /* NULL-terminated */
    const char *const *envp; /* NULL-terminated; nothing is inherited beside it */
    const char *cwd;         /* absolute; NULL = "/" */
    int cgroup_procs
        [PLAN_CGROUPS_MAX]; /* open cgroup.procs (v2) / tasks (v1) files: the child writes "0" into each */
    size_t n_cgroup_procs;
    bool switch_user; /* setgroups, setresgid, setresuid in this order */
    uid_t uid;
    gid_t gid;
    gid_t groups[PLAN_GROUPS_MAX];
    size_t n_groups;
    bool new_session; /* setsid, else a new process group */
    int tty_fd;       /* becomes the controlling terminal of the new session; -1 = none */
    struct plan_fd fds[PLAN_FDS_MAX]; /* everything else is closed */
    size_t n_fds;
    struct plan_rlimit rlimits[PLAN_RLIMITS_MAX];
    size_t n_rlimits;
    uint64_t
        drop_caps; /* bit per capability, taken out of the bounding set; inheritable and ambient are always empty */
    bool no_new_privs;
    int landlock_fd;                  /* a ruleset to enter; -1 = none */
    const struct sock_fprog *seccomp; /* NULL = none */
    int nice;                         /* added to the current value; 0 = unchanged */
    int oom_score_adj;                /* written when not 0 and permitted */
    mode_t umask;                     /* 022 unless the caller says otherwise */
    int death_signal;                 /* sent to the child when execd itself dies; 0 = none */
    bool trusted;        /* execd itself, started anew: it keeps what spawn_confine takes */
    uint64_t namespaces; /* CLONE_NEW* that it starts in: needs CAP_SYS_ADMIN; 0 = those of execd */
    uint64_t tag;        /* marks the process and all its descendants (tree.h); 0 = none */
};
void plan_init(struct spawn_plan *plan); /* zero, descriptors -1, umask 022, new_session true */
