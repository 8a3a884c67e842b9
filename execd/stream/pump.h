/*
 * A pump: moves bytes from one or two descriptors (a child's stdout and stderr) into a channel.
 *
 * Reads only while the channel has room, so that a slow reader slows the process, up to the channel's bound.
 * Ends when both descriptors are at EOF, or `linger_ms` after pump_leader_exited (a grandchild that keeps the
 * pipe open cannot hold the stream: hardening B03); whatever is already in the pipes by then is still read, even if
 * the channel has no room: no reader delays the end of a process by more than the linger.
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/stream/channel.h"

struct pump;

/* Takes the descriptors (non-blocking is set here); err_fd -1 = only one. on_end is posted exactly once. */
int pump_new(struct event_base *base, struct channel *ch, int out_fd, int err_fd, int linger_ms,
             void (*on_end)(void *arg), void *arg, struct pump **ret_pump) must_check;
void pump_leader_exited(struct pump *pump);
void pump_free(struct pump *pump); /* closes the descriptors; no callback afterwards */
