/*
 * Copies of kernels at rest, each parked in a process of its own that forks kernels on request (checkpoint.py).
 *
 * A checkpoint costs what its original has written since: pages are shared until then. How many there are is bounded
 * per context, and their memory together: the ones not used for longest go first, also when memory is short in the
 * sandbox. What went without being asked to stays in the list for a while, with the reason.
 *
 *   MAKING ──the copy says that it is there──► READY ──dropped, evicted or dead──► GONE ──reaped──► freed, or in the list
 *
 * Belongs to the manager of contexts. Thread rule: loop thread only.
 */
#pragma once

#include <jansson.h>

#include "execd/proc/leaf.h"

struct event_base;
struct work_pool;
struct checkpoints;
struct checkpoint;
struct kernel;

#define CHECKPOINTS_TOTAL_MAX 64

struct checkpoint_limits {
    unsigned per_context;
    uint64_t bytes; /* of all together: shares of memory (Pss) */
};

/* workers (borrowed; may be NULL, then sizes stay 0) read how large the copies are. */
struct checkpoints *checkpoints_new(struct event_base *base, struct work_pool *workers,
                                    const struct checkpoint_limits *limits);
void checkpoints_free(struct checkpoints *cs); /* kills them; NULL is fine */

/* Called once, never from inside checkpoint_make; c NULL: err says why. */
typedef void (*checkpoint_fn)(void *arg, const struct checkpoint *c, const struct err *err);
/* -errno with err: refused, with the reason. */
int checkpoint_make(struct checkpoints *cs, const char *context_id, const struct kernel *kernel,
                    checkpoint_fn fn, void *arg, struct err *err) must_check;
void checkpoints_cancel(struct checkpoints *cs, const void *arg); /* the asker is gone */

/* One that is ready. context_id NULL: of any. */
struct checkpoint *checkpoint_find(struct checkpoints *cs, const char *context_id, const char *id);
/* Why there is none under this id: "evicted: ...", or that there was none. */
const char *checkpoint_why_gone(const struct checkpoints *cs, const char *id);
const char *checkpoint_id(const struct checkpoint *c);
/* Where it takes requests for kernels, as birth_ask wants it; counts as a use. */
int checkpoint_socket(struct checkpoint *c);
const struct leaf *checkpoint_leaf(const struct checkpoint *c);
/* New references; NULL: no memory. */
json_t *checkpoint_json(const struct checkpoint *c);
json_t *checkpoints_json(const struct checkpoints *cs, const char *context_id);

void checkpoint_drop(struct checkpoint *c);
void checkpoints_drop_context(struct checkpoints *cs, const char *context_id);

struct checkpoint_stats {
    uint64_t made, evicted, bytes;
    unsigned ready;
};
void checkpoints_get_stats(const struct checkpoints *cs, struct checkpoint_stats *ret_stats);
