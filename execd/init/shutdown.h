/*
 * Ending every process in order: TERM to all, a grace, KILL to all, and reaping until none is left.
 *
 * As PID 1 "all" is everything in the pid namespace, else everything that descends from execd (orphans included:
 * execd is their subreaper). Stopping the API and ending its streams is the caller's, beside it.
 * Thread rule: loop thread only. Source: hardening 3.
 */
#pragma once

#include "proto/base/err.h"

struct event_base;

/* on_done is called once from the loop, when no child is left or nothing more can be done about it (a process in
 * uninterruptible sleep): SHUTDOWN_KILL_MS after the first KILL. */
#define SHUTDOWN_KILL_MS 2000
int shutdown_start(struct event_base *base, int grace_ms, void (*on_done)(void *arg), void *arg,
                   struct err *err) must_check;
void shutdown_now(void);  /* the grace is over */
void shutdown_stop(void); /* frees; no callback any more */
