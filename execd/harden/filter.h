/*
 * A system call filter for execd and everything it starts: PID 1's own limits and priority cannot be changed from
 * inside.
 *
 * A process that is not dumpable still takes prlimit, scheduling and I/O priority from any process of its user
 * (measured: CPU limit 0 killed it, hardening M6). The runtime's profile should forbid that; where execd is
 * started without one (a plain container), it installs these few rules itself. They are narrow: changing one's own
 * limits and priority goes on working, another process's limits cannot be changed any more.
 * Thread rule: main, before any thread.
 */
#pragma once

#include "proto/base/err.h"

enum filter_mode {
    FILTER_AUTO, /* where it costs the workload nothing: no_new_privs is set already, or CAP_SYS_ADMIN is there */
    FILTER_ON, /* also sets no_new_privs: set-uid programs in the sandbox lose their effect */
    FILTER_OFF,
};

/* 1 = installed, 0 = not (off, or auto where the kernel would ask for no_new_privs or lacks seccomp), -errno for ON
 * that cannot be done. */
int filter_install(enum filter_mode mode, struct err *err) must_check;
