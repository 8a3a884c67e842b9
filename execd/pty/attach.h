/*
 * A WebSocket client on a terminal session: the session's ring as frames, the client's frames as input.
 *
 * Out: binary 0x03 + int64 offset (big-endian) + bytes = replay from that offset: first what the client missed, later
 * again wherever it was too slow and the ring has overtaken it (the offset tells what is gone); text "connected";
 * binary 0x01 / 0x02 + bytes = standard output / error; text "exit", then close 1000.
 * In: binary 0x00 + bytes, or text frames stdin, signal, resize, ping. A viewer may only ping.
 * The ring is the only buffer: frames are made from it as the client takes them.
 * Thread rule: loop thread only. Source: contracts/execd.md 3.5.
 */
#pragma once

#include "execd/pty/term.h"

struct http_req;

struct attach_options {
    enum term_mode mode; /* for a process that has to be started */
    uint64_t since;      /* offset of the first byte that the client has not seen */
    bool is_viewer;      /* looks only: starts nothing, takes nobody's place */
};

/* Upgrades the request and attaches. The handshake has been checked, and so has that the place is free or may be taken.
 * On success the request is over; what goes wrong later is said in frames. */
int attach_start(struct http_req *req, struct term *t, const struct attach_options *options,
                 struct err *err) must_check;
