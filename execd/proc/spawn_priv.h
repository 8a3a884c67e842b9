/*
 * The child's half of a spawn, and what it reports. Shared by spawn.c and child.c only.
 *
 * Thread rule: child_run runs alone in the new process, between clone and exec.
 */
#pragma once

#include <sys/resource.h>

#include "execd/proc/plan.h"

enum child_step {
    CHILD_CGROUP,
    CHILD_SESSION,
    CHILD_TTY,
    CHILD_LIMITS,
    CHILD_NICE,
    CHILD_OOM,
    CHILD_FDS,
    CHILD_CAPS,
    CHILD_GROUPS,
    CHILD_GID,
    CHILD_UID,
    CHILD_CWD,
    CHILD_NO_NEW_PRIVS,
    CHILD_LANDLOCK,
    CHILD_SECCOMP,
    CHILD_EXEC,
    CHILD_STEP_MAX,
};

struct child_report {
    int step;      /* enum child_step */
    int errnum;    /* positive errno */
    int candidate; /* CHILD_EXEC: index of the candidate that errnum is about */
};

/* What holds for all children, whatever their plans say. */
struct child_rules {
    bool has_nofile;
    struct rlimit nofile;
    uint64_t drop_caps;
    const struct sock_fprog *filter; /* NULL = none */
};

/* Walks the plan with raw system calls and executes; reports to report_fd and exits 127 when a step fails. */
noreturn_fn void child_run(const struct spawn_plan *plan, const struct child_rules *rules,
                           int report_fd);
