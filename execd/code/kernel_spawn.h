/*
 * The process of a kernel: environment, working directory, spawn, cgroup leaf, and the words for its end.
 *
 * Owned by kernel.c, which adds sockets and protocol. Thread rule: loop thread only.
 * Source: contracts/jupyter.md 1.12 "Environment", kernels.md 2 and 5.
 */
#pragma once

#include <limits.h>

#include "execd/code/kernel.h"
#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"

struct kernel_process {
    struct pidref ref; /* owned */
    struct leaf *leaf; /* owned */
    int tail_fd;       /* owned; reads what it writes to descriptors 1 and 2 */
    char cwd[PATH_MAX];
};
#define KERNEL_PROCESS_UNSET ((struct kernel_process){.ref = PIDREF_UNSET, .tail_fd = -1})

int kernel_process_start(const struct kernel_plan *plan, const char *connection_file,
                         struct kernel_process *ret_process, struct err *err) must_check;
void kernel_process_done(struct kernel_process *process); /* kills what is left of the tree */

/* "exit status 1", "signal: killed (out of memory, limit 64 MiB)". */
void kernel_process_death_text(const struct kernel_process *process,
                               const struct exit_status *status, char *buf, size_t size);
