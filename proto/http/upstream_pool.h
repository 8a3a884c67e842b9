/*
 * Connections to backends that wait for their next request.
 *
 * A connection is given here between two answers and taken out for one request. At most UPSTREAM_IDLE_MAX wait, for at
 * most UPSTREAM_IDLE_S; one that says anything or closes is dropped at once. Whoever takes one must expect that the
 * backend closes it at this very moment: it is for requests that may be sent again.
 * Thread rule: loop thread only. Source: RFC 9110 section 9.2.2, RFC 9112 section 9.3.1.
 */
#pragma once

#include "proto/http/relay.h"

#define UPSTREAM_IDLE_MAX 64
#define UPSTREAM_IDLE_S 60

struct bufferevent;
struct upstream_pool;

struct upstream_pool *upstream_pool_new(void);
void upstream_pool_free(struct upstream_pool *pool); /* closes all; NULL is fine */

/* The connection to this target that waits for the shortest time, now the caller's; NULL when there is none. */
struct bufferevent *upstream_pool_take(struct upstream_pool *pool,
                                       const struct relay_target *target);
/* Takes the connection always. */
void upstream_pool_give(struct upstream_pool *pool, const struct relay_target *target,
                        struct bufferevent *bev);
