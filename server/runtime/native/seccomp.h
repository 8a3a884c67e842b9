/*
 * The system calls that a sandbox may make: a table, turned into one BPF program at start-up.
 *
 * What the table does not name answers ENOSYS, as a kernel that is older would; calls that are known and unwanted
 * answer EPERM; a foreign entry (32 bit, x32) kills the process. The same filter holds for execd itself, which is
 * why its own needs are in the table too. Source: hardening.md 4 (2 to 5), M6, M7, M16.
 * Thread rule: any thread.
 */
#pragma once

#include <linux/filter.h>

#include "proto/base/err.h"

/* Two programs, of which the kernel takes the stricter answer: which calls there are, and which arguments of the
 * allowed ones are refused ("allowed, except" cannot be said in one libseccomp filter). */
#define SECCOMP_PROGRAMS 2

struct seccomp_filter {
    struct sock_fprog program[SECCOMP_PROGRAMS]; /* instructions owned */
};

/* Compiles the tables through libseccomp. isolation: the calls of seccomp_granted are allowed, and new namespaces;
 * execd takes them from everything that it starts. */
int seccomp_compile(bool isolation, struct seccomp_filter *ret_filter, struct err *err) must_check;
void seccomp_filter_done(struct seccomp_filter *filter); /* legal on a zeroed one */

/* Loads it into the calling thread, which must have no_new_privs. Async-signal-safe. -errno. */
int seccomp_load_filter(const struct seccomp_filter *filter) must_check;
