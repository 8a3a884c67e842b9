/*
 * The capabilities that a sandbox keeps: eleven in the bounding set, none inheritable, none ambient.
 *
 * They count inside the sandbox's own user namespace only. Source: hardening.md 4.1.
 * Thread rule: any thread; caps_apply runs in the child before exec (async-signal-safe).
 */
#pragma once

#include "proto/base/defs.h"

extern const uint8_t caps_kept[];
extern const size_t caps_n_kept;

uint64_t caps_mask(void); /* the same as a bit mask */
/* What execd keeps beside them where isolated sessions were asked for, and takes from everything that it starts: what
 * namespaces, mounts and a loopback interface need. They count in the sandbox's user namespace only. */
uint64_t caps_grant(void);

/* Drops everything else for good: bounding set, ambient, inheritable, permitted, effective. -errno. */
int caps_apply(uint64_t keep) must_check;
