/*
 * Life-cycle hooks of a sandbox: one before the entrypoint, and some that come again and again.
 *
 * Order: execd listens, preStart runs to its end, the periodic hooks are scheduled, the entrypoint starts. A periodic
 * hook whose last run still goes on is skipped. One set per process. Thread rule: loop thread only.
 * Source: contracts/v1.1.md 1.9 and 2.3:
 *   {"preStart": {"command": [...], "timeoutSeconds": 60},
 *    "periodic": [{"name": "...", "schedule": "0 * * * *", "command": [...], "timeoutSeconds": 60}]}
 */
#pragma once

#include "proto/base/err.h"

struct event_base;

/* Reads and checks the text; -EINVAL names the place. NULL and "" are no hooks at all. */
int lifecycle_load(const char *text, struct err *err) must_check;

/* on_ready gets 0, or the code with which preStart failed: no periodic hook runs then. It runs once, from the loop,
 * or before this returns when there is nothing to wait for. */
void lifecycle_start(struct event_base *base, void (*on_ready)(void *arg, int code), void *arg);
void lifecycle_stop(
    void); /* no hook is started any more, no callback; what runs is not touched. Frees all. */
