/*
 * The rows of the sandbox's system-call filter. Private to seccomp.c and its tests.
 */
#pragma once

#include "proto/base/defs.h"

extern const char *const seccomp_allowed[]; /* whatever their arguments */
extern const size_t seccomp_n_allowed;
extern const char *const seccomp_denied[]; /* EPERM, whatever their arguments */
extern const size_t seccomp_n_denied;

extern const char *const seccomp_granted[]; /* of the denied ones: what isolated sessions take */
extern const size_t seccomp_n_granted;

/* One comparison of libseccomp: op is its enum scmp_compare, 0 = no comparison. */
struct seccomp_cmp {
    unsigned arg;
    int op;
    uint64_t a, b;
};
/* All comparisons hold: EPERM for `deny`, else allowed (a call that no row allows answers ENOSYS). */
struct seccomp_rule {
    const char *name;
    bool deny;
    bool unless_granted; /* a row for sandboxes without isolated sessions */
    struct seccomp_cmp cmp[2];
};
extern const struct seccomp_rule seccomp_rules[];
extern const size_t seccomp_n_rules;
