/*
 * A feed: bytes from clients into a process's standard input, queued up to a bound.
 *
 * Takes the write end of a pipe. When the process closes its end the queue is dropped and every later write is
 * refused. Thread rule: loop thread only.
 */
#pragma once

#include <sys/queue.h>

#include "proto/base/defs.h"

struct event_base;
struct feed;

/* One client that waits for room; embedded in its owner, which forgets it before it goes. */
struct feed_waiter {
    void (*on_room)(void *arg);
    void *arg;
    bool waits;
    TAILQ_ENTRY(feed_waiter) link; /* while it waits */
};

/* Takes fd. packet > 0: at most that many bytes per write(2), for a pipe in packet mode (O_DIRECT). */
int feed_new(struct event_base *base, int fd, size_t packet, struct feed **ret_feed) must_check;
void feed_free(struct feed *f); /* closes at once; NULL is fine */

/* Copies. -EPIPE: nobody reads any more, or feed_close was called. -ENOMEM. */
int feed_write(struct feed *f, const void *p, size_t n) must_check;
/* End of input, behind what is queued. */
void feed_close(struct feed *f);
/* End at once: what is queued is dropped, who waits for room learns it. */
void feed_shut(struct feed *f);
bool feed_is_open(const struct feed *f); /* a write would be taken */

/* The process has read all that was written. */
bool feed_is_through(const struct feed *f);

/* Below the bound; a client that goes on beyond it is made to wait by its connection. */
bool feed_has_room(const struct feed *f);
/* w->on_room runs on the loop, once, when there is room again or the feed has broken. Any number may wait: the one that
 * has waited longest comes first, the next when that one has left room. */
void feed_await_room(struct feed *f, struct feed_waiter *w);
void feed_forget(struct feed *f, struct feed_waiter *w); /* legal when it does not wait */
