/*
 * A bounded pool of threads for disk work that may block; results come back on the loop.
 *
 * A job receives values only and never touches module state; `done` runs on the loop thread with the
 * job's argument, exactly once, also after a cancel. At most `threads` jobs run, at most `queue_max`
 * wait; beyond that work_post answers -EAGAIN and the request fails typed. Signals are blocked in the
 * threads. Thread rule: all functions on the loop thread.
 */
#pragma once

#include "proto/base/defs.h"

struct event_base;
struct work_pool;

typedef void (*work_fn)(void *arg);

int work_pool_new(struct event_base *base, int threads, int queue_max,
                  struct work_pool **ret_pool) must_check;
void work_pool_free(
    struct work_pool *pool); /* waits for running jobs; queued ones get done() without run() */
int work_post(struct work_pool *pool, work_fn run, work_fn done, void *arg) must_check;
