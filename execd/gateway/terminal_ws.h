/*
 * A Jupyter client on a terminal: its WebSocket, text frames that are JSON arrays.
 *
 * Out: ["setup", {}], ["stdout", TEXT] with what is kept of before, then as it comes, ["disconnect", 1] at the shell's
 * end, then close 1000. In: ["stdin", TEXT], ["set_size", ROWS, COLS, ...]. Any number of clients may write.
 * The session's ring is the only buffer: a client that is too slow misses output, never another one's.
 * Thread rule: loop thread only. Source: contracts/jupyter.md 2.10.
 */
#pragma once

#include "execd/gateway/terminals.h"

struct http_req;

/* Upgrades the request. The handshake and the room in the session were checked. Afterwards the request is over. */
int terminal_ws_start(struct http_req *req, struct terminals *terminals, struct term *term,
                      struct err *err) must_check;
