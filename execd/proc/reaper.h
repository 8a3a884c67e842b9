/*
 * The only place in execd that waits: reaps every child and every orphan, and tells who asked.
 *
 * SIGCHLD is blocked and read from a signalfd; each wake-up loops waitpid until nothing is left (signals
 * coalesce, hardening M22). The status of a pid nobody watches yet is kept (last 1,024) so that a watcher that
 * comes after the exit still gets it. Not PID 1: the process becomes a subreaper.
 * Callbacks run on the loop, never inside reaper_watch. Thread rule: loop thread only.
 */
#pragma once

#include <sys/resource.h>

#include "execd/proc/pidref.h"

struct event_base;

struct exit_status {
    bool signalled;
    int code;             /* exit code, or the signal's number */
    bool core;
    struct rusage rusage; /* of the process and its waited-for children */
};

/* "exit status 3", "signal: killed": the texts of contracts/execd.md 2.5. buf of 64 bytes. */
void exit_status_text(const struct exit_status *status, char *buf, size_t size);

int reaper_init(struct event_base *base, struct err *err) must_check;
void reaper_done(void);

/* on_exit runs once, when the process has been reaped. */
typedef void (*reaper_fn)(void *arg, const struct exit_status *status);
void reaper_watch(pid_t pid, reaper_fn on_exit, void *arg);
void reaper_forget(pid_t pid); /* drops the watcher; the process is still reaped */

uint64_t reaper_count(void);   /* processes reaped since start, orphans included */
