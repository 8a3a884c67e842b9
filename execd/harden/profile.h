/*
 * System call filters that a command may ask for on top of its sandbox's own.
 *
 * Compiled when first asked for and kept for the life of the process: the child loads a ready program. Both refuse with
 * EPERM what their tables name and allow the rest, for the native architecture only (another one ends the process).
 * Thread rule: loop thread only. Source: hardening 4, seccomp(2).
 */
#pragma once

#include "proto/base/err.h"

struct sock_fprog;

enum profile_part {
    PROFILE_HARDENED =
        1 << 0, /* no tracing, no namespaces, no mounts, no kernel facilities beyond a program's */
    PROFILE_NO_NETWORK = 1 << 1, /* no socket but Unix ones */
};

/* *ret_program stays valid for ever; NULL for no parts. POLICY_UNSUPPORTED where the kernel has no filters. */
int profile_get(unsigned parts, const struct sock_fprog **ret_program, struct err *err) must_check;

/* Does this kernel load filters at all? */
bool profile_is_supported(void);
