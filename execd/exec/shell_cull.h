/*
 * Code contexts of a shell that nobody has used for long enough go, as those of kernels do.
 *
 * Looked at all together, once per interval. One that works or has runs waiting stays; sessions that are no contexts are
 * never looked at. Thread rule: loop thread only. Source: execd/OPTIONS.md --cull-idle.
 */
#pragma once

#include "execd/exec/session.h"

struct shell_cull;

/* *ret_cull NULL when idle_ms is 0: they stay. sessions is borrowed. -ENOMEM. */
int shell_cull_new(struct event_base *base, struct session_manager *sessions, int64_t idle_ms,
                   int interval_ms, struct shell_cull **ret_cull) must_check;
void shell_cull_free(struct shell_cull *cull); /* NULL is fine */
