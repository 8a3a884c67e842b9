/*
 * What a process owes before it may be PID 1 of a sandbox: the duties that come before anything else.
 *
 * Called first thing in main, in this order: pid1_shield (before any byte of a secret is looked at), then the
 * options are read, then pid1_settle. Each step is harmless for a process that is not PID 1.
 * Thread rule: main, before any thread. Source: hardening 3, M4.
 */
#pragma once

#include "proto/base/cgroupfs.h"

/* Not dumpable: nobody inside reads our memory or environment, or attaches. No core files. Opens 0, 1, 2 on
 * /dev/null where they are closed. -errno when not even that works. */
int pid1_shield(struct err *err) must_check;

/* Takes the handed cgroup descriptors and *listen_fd (-1 = none; its number changes), captures the environment for
 * children (environment.h), closes every other inherited one, blocks all signals but real faults and resets every
 * disposition, raises RLIMIT_NOFILE for ourselves (children keep the old one), gives up the
 * controlling terminal, and goes to "/" so that nothing stays busy. */
int pid1_settle(int *listen_fd, struct cgroup_dirs *ret_handed, struct err *err) must_check;

bool pid1_is_init(void); /* are we PID 1 of our pid namespace? */
/* Standard input is a terminal that was ours and that a child may take now. */
bool pid1_terminal_is_free(void);
