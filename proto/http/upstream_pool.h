/*
 * Connections to backends that wait for their next request.
 *
 * A connection is given here between two answers and taken out for one request. At most UPSTREAM_IDLE_MAX wait, for at
 * most UPSTREAM_IDLE_S; one that says anything or closes is dropped at once. Whoever takes one must expect that the
 * backend closes it at this very moment: it is for requests that may be sent again, or fresh from its last answer.
 * Thread rule: loop thread only. Source: RFC 9110 section 9.2.2, RFC 9112 section 9.3.1.
 */
#pragma once

#include "proto/http/relay.h"

#define UPSTREAM_IDLE_MAX 64
#define UPSTREAM_IDLE_S 60
#define UPSTREAM_FRESH_MS 1000

struct bufferevent;
struct upstream_pool;

struct upstream_pool *upstream_pool_new(void);
void upstream_pool_free(struct upstream_pool *pool); /* closes all; NULL is fine */

/* The connection to this target that waits for the shortest time, now the caller's; NULL when there is none. fresh_only:
 * one that is older than UPSTREAM_FRESH_MS is closed instead, so that a backend that serves one connection at a time is
 * free for the next. */
struct bufferevent *upstream_pool_take(struct upstream_pool *pool,
                                       const struct relay_target *target, bool fresh_only);
/* Takes the connection always. */
void upstream_pool_give(struct upstream_pool *pool, const struct relay_target *target,
                        struct bufferevent *bev);
