/*
 * The only place in execd that waits: reaps every child and every orphan, and tells who asked.
 *
 * SIGCHLD is blocked and read from a signalfd; each wake-up loops wait4 until nothing is left (signals
 * coalesce, hardening M22). spawn_process announces each child, and the status of an announced child that
 * nobody watches yet is kept (the last 1,024), so that a watcher that comes after the exit still gets it.
 * Orphans of others are reaped and counted, nothing more: their number cannot push a kept status out.
 * Not PID 1: the process becomes a subreaper.
 * Callbacks run on the loop, never inside reaper_watch. Thread rule: loop thread only.
 */
#pragma once

#include <sys/resource.h>

#include "execd/proc/pidref.h"

struct event_base;

struct exit_status {
    bool signalled;
    int code; /* exit code, or the signal's number */
    bool core;
    struct rusage rusage; /* of the process and its waited-for children */
};

/* "exit status 3", "signal: killed", "signal: segmentation fault (core dumped)": the texts of
 * contracts/execd.md 2.5. buf of EXIT_TEXT_MAX bytes is enough. */
#define EXIT_TEXT_MAX 64
void exit_status_text(const struct exit_status *status, char *buf, size_t size);

int reaper_init(struct event_base *base, struct err *err) must_check;
void reaper_done(void);

/* on_exit runs once, when the process has been reaped. */
typedef void (*reaper_fn)(void *arg, const struct exit_status *status);
void reaper_watch(pid_t pid, reaper_fn on_exit, void *arg);
void reaper_forget(
    pid_t pid); /* drops the watcher or the kept status; the process is still reaped */

/* For spawn_process: this pid is a child of ours from now on; whatever is known under the number is stale. */
void reaper_expect(pid_t pid);

/* A child of ours, alive or not yet reaped: nothing would tell of the end of any other process. */
bool reaper_is_child(pid_t pid);

/* Somebody waits for its end already: whoever else says that it is his is mistaken, or lies. */
bool reaper_is_watched(pid_t pid);

/* Reaps what is dead now and tells the watchers. Returns whether any child, known or orphan, is left:
 * the shutdown goes on until it answers false. */
bool reaper_run(void);

/* on_empty runs on the loop whenever reaping found that no child is left; NULL forgets it. */
void reaper_on_empty(void (*on_empty)(void *arg), void *arg);

uint64_t reaper_count(void); /* processes reaped since start, orphans included */
