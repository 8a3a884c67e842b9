/*
 * A process that cannot be confused with another: pid plus pidfd.
 *
 * Unset is {.pid = 0, .fd = -1}. The number alone is never used to signal: it may have been reused by then
 * (hardening B04). Thread rule: loop thread only. Source: pidfd_open(2), pidfd_send_signal(2).
 */
#pragma once

#include "proto/base/err.h"

struct pidref {
    pid_t pid;
    int fd; /* owned pidfd, CLOEXEC */
};
#define PIDREF_UNSET ((struct pidref){.pid = 0, .fd = -1})

/* -errno; -ESRCH when there is none. Whoever got the number from a listing looks again afterwards: it may have changed
 * hands just before. Unset on failure. */
int pidref_open(struct pidref *ret_p, pid_t pid) must_check;
bool pidref_is_set(const struct pidref *p);
void pidref_done(struct pidref *p);
int pidref_signal(const struct pidref *p, int signum) must_check; /* -ESRCH once it was reaped */
/* It is over, also when nobody has reaped it yet: what happens from now on did not end it. False when unset. */
bool pidref_has_ended(const struct pidref *p);

/* A few process numbers; NULL is an empty list. */
struct pid_list {
    pid_t pid[4];
    size_t n;
};
bool pid_list_has(const struct pid_list *list, pid_t pid);
