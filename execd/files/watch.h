/*
 * Watching a folder, or a file: inotify as a channel of CHANGE events (events.def).
 *
 * After the first event, INIT, every change of the watched directories is in the channel, or a GAP event says that
 * some are missing: {"reason":"overflow"} when the kernel dropped events, {"reason":"limit"} when directories are
 * not watched because WATCH_DIRS_MAX (or the kernel's own limit) is reached. New directories are watched as they
 * appear; what they hold already is reported as created, at times twice. A move inside the tree is one event, into it
 * a creation, out of it a deletion. The channel is lossy: a reader that falls behind gets a GAP of numbers.
 * The watch ends, with the terminal event, when its root is gone or when nobody has read it for WATCH_IDLE_MS, which
 * leaves a client time to come back. At most WATCHES_MAX at once. Thread rule: loop thread only; trees are scanned in
 * the worker pool. Source: inotify(7).
 */
#pragma once

#include "execd/stream/channel.h"

#define WATCHES_MAX 64
#define WATCH_DIRS_MAX 8192
#define WATCH_IDLE_MS 30000

struct event_base;
struct watch;
struct work_pool;

/* Posted once: err NULL when the watch is in place; ch and id are borrowed. Afterwards the watch is on its own. */
typedef void (*watch_started_fn)(void *arg, struct channel *ch, const char *id,
                                 const struct err *err);

int watch_start(const char *path, bool recursive, struct event_base *base, struct work_pool *pool,
                watch_started_fn on_started, void *arg, struct watch **ret_watch,
                struct err *err) must_check;
/* Before on_started has run: nobody is interested any more, it will not run. */
void watch_cancel(struct watch *w);
/* Ends all of them, before the pool goes. */
void watch_close_all(void);
