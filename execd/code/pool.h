/*
 * Kernels that wait ready, so that a new context need not even wait for a fork.
 *
 * Once an IPython kernel has been asked for, `size` more are forked in advance, when nothing has been started for a
 * moment, one at a time. The next plan that wants the same program, and agrees in all that is read at a start, gets
 * one; folder and environment follow by a request to it (kernel_reuse). Where memory is short none is kept.
 * Never holds a kernel that had to start cold: it would have no such requests. Thread rule: loop thread only.
 */
#pragma once

#include "execd/code/kernel.h"

struct pool;

/* Both are borrowed. */
struct pool *pool_new(struct kernel_host *host, const struct kernelspec_env *spec_env,
                      unsigned size);
void pool_free(struct pool *p); /* kills those that wait; NULL is fine */

/* -EAGAIN: none that fits; whoever asks starts one, and the pool will have some for the next. */
int pool_take(struct pool *p, const struct kernel_plan *plan, const struct kernel_ops *ops,
              void *arg, struct kernel **ret_kernel, struct err *err) must_check;

struct pool_stats {
    uint64_t taken, died;
    unsigned ready;
    const char *type; /* their kernelspec; borrowed, NULL before the first */
};
void pool_get_stats(const struct pool *p, struct pool_stats *ret_stats); /* NULL: all 0 */
