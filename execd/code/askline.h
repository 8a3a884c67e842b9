/*
 * Requests to a forked kernel beside its protocol, over the socket on which it was born: control.py answers.
 *
 * One request at a time, each with a time limit; answers are the kernel's word and no more than that: the user's code
 * lives in the same process. Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/defs.h"

struct event_base;
struct askline;

#define ASKLINE_REQUEST_MAX (128 * 1024)

/* why NULL: it says that it is done. Called once, never from inside askline_ask. */
typedef void (*askline_fn)(void *arg, const char *why);

/* Takes fd in every case. NULL: no memory; the kernel works without, but is not copied or used again. */
struct askline *askline_new(struct event_base *base, int fd);
void askline_free(struct askline *c); /* no callback any more; NULL is fine */

int askline_socket(
    const struct askline *c); /* borrowed; for requests that are answered elsewhere */

/* fds travel along (at most ASKLINE_FDS_MAX) and stay the caller's. -EBUSY while another one is under way, -E2BIG,
 * -EPIPE when the other end has gone. */
#define ASKLINE_FDS_MAX 16
int askline_ask(struct askline *c, const char *text, size_t len, const int *fds, size_t n_fds,
                int limit_ms, askline_fn fn, void *arg) must_check;

/* The packet itself, as zygotes take it too. -EAGAIN when the other end does not take it. */
int askline_send(int fd, const char *text, size_t len, const int *fds, size_t n_fds) must_check;
