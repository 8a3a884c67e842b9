/*
 * Landlock rulesets: made in the parent, as a descriptor that the child only has to enter.
 *
 * Our own numbers instead of <linux/landlock.h>: the kernel that runs may know more than the headers of the build.
 * Thread rule: any thread. Source: landlock(7), Documentation/userspace-api/landlock.rst.
 */
#pragma once

#include "proto/base/err.h"

struct policy_landlock;

#define LANDLOCK_ABI_NET 4
#define LANDLOCK_ABI_SCOPE 6
#define LANDLOCK_SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define LANDLOCK_SCOPE_SIGNALS (1ULL << 1)

/* The kernel's ABI version; 0 = no Landlock here (not built in, not enabled, or refused by a filter). */
int landlock_abi(void);

/* *ret_fd is CLOEXEC and the caller's. POLICY_UNSUPPORTED where the kernel's ABI is too old; INVALID_REQUEST_BODY for a
 * path that cannot be opened. */
int landlock_ruleset(const struct policy_landlock *wanted, int *ret_fd, struct err *err) must_check;
