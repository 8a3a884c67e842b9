/*
 * The ports of the sandbox as the loop thread sees them: scans in the worker pool, one at a time for all who ask, since
 * when each port is open, and events for those that open and close.
 *
 * An answer is at most PORTS_AGE_MS old. While somebody follows the events (execd/events/bus.h) a scan runs every
 * second; the first one tells what is there without events.
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/ports/scan.h"
#include "proto/base/err.h"

#define PORTS_AGE_MS 200

struct event_base;
struct work_pool;
struct port_watch;

struct port_seen {
    struct port_entry entry;
    int64_t
        since_us; /* wall clock: when it was first seen, which is not before execd began to look */
};
struct port_view {
    const struct port_seen *items; /* borrowed: valid during the callback */
    size_t n;
    bool truncated, from_netlink;
};
/* view NULL: err says why. */
typedef void (*ports_fn)(void *arg, const struct port_view *view, const struct err *err);

int port_watch_new(struct event_base *base, struct work_pool *pool,
                   struct port_watch **ret_watch) must_check;
void port_watch_free(struct port_watch *w); /* after the pool: no scan is under way */

/* on_ports is called once, from the loop, never from inside. -EAGAIN: too many wait, or the pool is full. */
int port_watch_get(struct port_watch *w, ports_fn on_ports, void *arg, struct err *err) must_check;
void port_watch_cancel(struct port_watch *w, void *arg); /* forgets who asked with this arg */
