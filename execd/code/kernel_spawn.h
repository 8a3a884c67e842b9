/*
 * The process of a kernel: environment, working directory, spawn, cgroup leaf, and the words for its end.
 *
 * Owned by kernel.c, which adds sockets and protocol. Thread rule: loop thread only.
 * Source: contracts/jupyter.md 1.12 "Environment", kernels.md 2 and 5.
 */
#pragma once

#include <limits.h>

#include "execd/code/kernel.h"
#include "execd/code/zygote.h"
#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"

/* 0 or -errno with err. */
typedef void (*kernel_started_fn)(void *arg, int result, const struct err *err);

/* Where what it writes arrives: together, or descriptor 2 apart. */
enum kernel_pipe { KERNEL_STDOUT, KERNEL_STDERR, KERNEL_PIPES };

struct kernel_process {
    struct pidref ref;        /* owned; unset until it is there */
    struct leaf *leaf;        /* owned */
    int output[KERNEL_PIPES]; /* owned; the second is -1 where both write to the first */
    bool forked;              /* from a warm interpreter */
    bool is_copy;             /* of another kernel */
    bool pooled;              /* before anybody asked for it */
    char note[160];           /* why not, or what it goes without */
    struct askline *control;  /* owned; of one that was forked */
    /* until it is there; of one started in advance, until it has entered */
    bool in_advance;
    struct event_base *base; /* borrowed */
    struct birth *birth;     /* owned */
    int out_fd, err_fd;      /* owned; err_fd is -1 where both are one */
    struct arena arena;
    const char *const *envp, *const *argv, *const *candidates;
    const char *const *cold_argv; /* argv, or our own program in its place */
    const char *start_cwd;
    kernel_started_fn on_started;
    void *arg;
};
#define KERNEL_PROCESS_UNSET                                                                       \
    ((struct kernel_process){.ref = PIDREF_UNSET, .output = {-1, -1}, .out_fd = -1, .err_fd = -1})

/* 0: it is there. 1: it is being forked from a warm interpreter (or, where that fails, started cold), and on_started is
 * called later, once; it must watch the process before it returns. After a failure too,
 * kernel_process_done is to be called. */
int kernel_process_start(struct kernel_process *process, const struct kernel_host *host,
                         const struct kernel_plan *plan, const char *connection_file,
                         kernel_started_fn on_started, void *arg, struct err *err) must_check;
void kernel_process_done(struct kernel_process *process); /* kills what is left of the tree */

/* One started in advance takes over what the plan wants: folder and environment. fn is called later, once. -EAGAIN: it
 * cannot, the plan differs in what was read at the start. */
int kernel_process_enter(struct kernel_process *process, const struct kernel_plan *plan,
                         const char *connection_file, void (*fn)(void *arg, const char *why),
                         void *arg, struct err *err) must_check;
/* It has entered: nothing of its start is kept any more. */
void kernel_process_entered(struct kernel_process *process);
/* It could not, and is gone: another one, cold. why becomes the note. */
int kernel_process_replace(struct kernel_process *process, const char *why,
                           struct err *err) must_check;

/* "exit status 1", "signal: killed (out of memory: limit 64 MiB, peak 63 MiB)"; true when it was that. */
#define KERNEL_DEATH_TEXT_MAX 160
bool kernel_process_death_text(const struct kernel_process *process,
                               const struct exit_status *status, char *buf, size_t size);
