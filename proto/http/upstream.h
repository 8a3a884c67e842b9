/*
 * Opening a connection to a backend: a Unix socket or an address literal, never a name.
 *
 * Thread rule: loop thread only.
 */
#pragma once

#include "proto/http/relay.h"

/* A bufferevent whose connect is under way: BEV_EVENT_CONNECTED or an error follows. CLOEXEC, non-blocking,
 * closed with the bufferevent. -errno with err (BACKEND_CONNECTION_FAILED) when it failed at once. */
int upstream_open(struct event_base *base, const struct relay_target *target,
                  struct bufferevent **ret_bev, struct err *err) must_check;
