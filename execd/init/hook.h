/*
 * One run of a life-cycle hook: a program beside the entrypoint, in the same environment, with a time limit.
 *
 * What it leaves running lives on, as the entrypoint's daemons do; a time limit that passes ends all of it.
 * Thread rule: loop thread only. Source: contracts/v1.1.md 1.9.
 */
#pragma once

#include "proto/base/err.h"

#define HOOK_TIMED_OUT 124 /* as timeout(1) says it */

struct event_base;
struct hook;

/* argv is borrowed for the call. on_end runs once, from the loop, with an exit code (128+n for a signal); the hook is
 * freed before. -errno when it cannot be started: no on_end then. */
typedef void (*hook_fn)(void *arg, int code);
int hook_start(struct event_base *base, const char *const *argv, int64_t timeout_ms, hook_fn on_end,
               void *arg, struct hook **ret_hook, struct err *err) must_check;
void hook_free(struct hook *hook); /* no callback any more; the process is not touched */
