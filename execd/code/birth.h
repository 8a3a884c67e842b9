/*
 * A process that another one forks for us: a warm interpreter, or a kernel that was copied.
 *
 * The request goes over the other's socket, with one end of a fresh pair; the newborn says "here" on it. It has been
 * forked twice, so that it is a child of execd by then, and waits for "go": execd watches it first, so that no end is
 * missed. The kernel vouches for its number (SCM_CREDENTIALS), and reaper_is_child for whose child it is.
 * Thread rule: loop thread only. Source: contracts/kernels.md 3.3.
 */
#pragma once

#include <jansson.h>

#include "execd/proc/leaf.h"

struct event_base;
struct birth;

/* pid > 0: a child of execd that waits for birth_go. 0: it failed, why says it; the birth is over. */
typedef void (*birth_fn)(void *arg, pid_t pid, const char *why);

/* Takes fields, adds to them what every newborn needs. It joins leaf; out_fd (-1: none) becomes 1 and 2. fn is called
 * later, once. -errno: the other does not take the request. */
int birth_ask(struct event_base *base, int server_fd, json_t *fields, struct leaf *leaf, int out_fd,
              birth_fn fn, void *arg, struct birth **ret_birth) must_check;
/* The caller watches it now: it may begin. Ends the birth. Gives our end of its socket, which is the caller's. */
int birth_go(struct birth *b) must_check;
/* No callback any more; a process that has come into being ends by itself. NULL is fine. */
void birth_cancel(struct birth *b);
