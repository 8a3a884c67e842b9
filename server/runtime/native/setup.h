/*
 * Making the first process of a sandbox: clone3 into new namespaces, then the plan, row by row, then exec.
 *
 * The child does raw system calls only (it is a copy of a process with threads). Until it has become execd it dies
 * with the server (PDEATHSIG); from then on it is on its own. It waits for setup_go before it touches anything, and
 * reports the first failure as a message over a pipe that closes by itself on exec.
 * Thread rule: loop thread. Source: style.md 1.1 (errors of the child as messages), hardening.md L, L29.
 */
#pragma once

#include "server/runtime/native/plan.h"

struct setup_process {
    pid_t pid;
    int pidfd;     /* owned */
    int go_fd;     /* owned; write end */
    int report_fd; /* owned; read end, non-blocking */
};

struct setup_maps {
    uint32_t uid_base, uid_count;
    int cgroup2_fd; /* born in this cgroup2 group; -1 = none */
};

/* Clones and writes the id maps. -errno with nothing left behind. */
int setup_clone(const struct plan *plan, const struct setup_maps *maps,
                struct setup_process *ret_process, struct err *err) must_check;
int setup_go(struct setup_process *process) must_check; /* lets it run; closes go_fd */
void setup_process_done(struct setup_process *process); /* closes what is left, kills nothing */

/* Reads what the child has to say: 1 = it has become execd, 0 = not yet, -errno with the child's own reason. */
int setup_result(const struct setup_process *process, struct err *err) must_check;

/* setup_child.c: never returns. */
noreturn_fn void setup_child(const struct plan *plan, int go_fd, int report_fd);

struct setup_report { /* one message, smaller than PIPE_BUF */
    int step, errnum;
    char what[120]; /* the row or file */
};
const char *setup_step_name(int step);

enum setup_step {
    STEP_WAIT,
    STEP_CGROUP,
    STEP_CREDENTIALS,
    STEP_KEYRING,
    STEP_PRIVATE,
    STEP_ROOT,
    STEP_MOUNT,
    STEP_PIVOT,
    STEP_HOSTNAME,
    STEP_LOOPBACK,
    STEP_RLIMIT,
    STEP_STDIO,
    STEP_DIRECTORY,
    STEP_FDS,
    STEP_CAPABILITIES,
    STEP_SECCOMP,
    STEP_EXEC,
    STEP_MAX,
};
