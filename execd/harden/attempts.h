/*
 * Wrong tokens, counted by where they come from: who tries many is told to slow down.
 *
 * A bucket of ATTEMPTS_BURST tries per address, refilled by one a second. Only the answer to a wrong token changes: a
 * right one is always taken, because behind a proxy or a NAT everybody has one address, and a stranger there must not
 * lock the owner out. A table of fixed size: the address that was quiet longest gives way. A token is 256 bits; this
 * keeps logs and answers small, not guessers out. Thread rule: loop thread only. Source: hardening E08.
 */
#pragma once

#include "proto/base/defs.h"

#define ATTEMPTS_BURST 100
#define ATTEMPTS_PEERS 256

struct attempts_peer {
    char address[48]; /* "" = free */
    int64_t filled_ms;
    int left;
    bool told; /* until the bucket is full again */
};
struct attempts {
    struct attempts_peer peers[ATTEMPTS_PEERS];
};

/* One wrong token of "address:port" (or another name of a peer). False: too many; *ret_first tells that this one is the
 * first since the bucket was full, for the log. */
bool attempts_take(struct attempts *a, const char *peer, int64_t now_ms, bool *ret_first);
