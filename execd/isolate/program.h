/*
 * Starting the program of an isolated session with what it may keep: identity, capabilities, filter, environment.
 *
 * Thread rule: the single-threaded first process of a session (init.h), which may fork where execd may not.
 */
#pragma once

#include "execd/isolate/plan.h"

struct sock_fprog;

struct program {
    const struct isolate_plan *plan; /* borrowed */
    int proc;                        /* borrowed: /proc with writable uid maps */
    struct sock_fprog *filter;       /* owned */
    char **envp;                     /* in memory of its own, borrowed strings */
    gid_t groups[64];
    size_t n_groups;
};

/* What needs memory, and can be refused, comes before anybody is told that the session is there. */
int program_prepare(struct program *program, const struct isolate_plan *plan, int proc,
                    struct err *err) must_check;
/* argv[0] is the absolute path. 0: it was executed. */
int program_start(struct program *program, char **argv, pid_t *ret_pid, struct err *err) must_check;
