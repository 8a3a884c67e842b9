/*
 * What ws_handshake.c and ws_conn.c share.
 *
 * Thread rule: loop thread only.
 */
#pragma once

#include "proto/http/ws_conn.h"

struct evbuffer;

/* Appends the 101 answer to a handshake that ws_check_handshake accepted, with the first of our subprotocols that is
 * offered. -ENOMEM. */
int ws_write_answer(const struct http_req *req, const char *const *subprotocols,
                    struct evbuffer *out) must_check;
