/*
 * What programs of an isolated session lose: capabilities beyond ordinary file work, and the system calls that make
 * or enter namespaces, mount, or reach into the kernel.
 *
 * For the fresh process that becomes such a program: it allocates, and must not run between fork and exec of execd
 * itself. Order: confine_privileges, then confine_load (which needs no_new_privs, set here), then exec.
 * Thread rule: a single-threaded process. Source: hardening.md 4.
 */
#pragma once

#include "proto/base/err.h"

struct sock_fprog;

/* Bounding, ambient, inheritable, permitted and effective set are cut down to what root needs for files of its own
 * making; sets no_new_privs. For other users nothing is left after the exec. */
int confine_privileges(struct err *err) must_check;

/* For everything that an execd with CAP_SYS_ADMIN starts in a confined sandbox: new namespaces and mounts only, so that
 * it is left as it would be without; and what such a child loses of capabilities, a bit each. */
#define CONFINE_GRANT_CAPS                                                                         \
    (UINT64_C(1) << 21 | UINT64_C(1) << 12) /* CAP_SYS_ADMIN, CAP_NET_ADMIN */
enum confine_kind { CONFINE_SESSION, CONFINE_GRANT };

/* The deny list as a program; confine_filter_free frees it. */
int confine_filter(enum confine_kind kind, struct sock_fprog **ret_filter,
                   struct err *err) must_check;
void confine_filter_free(struct sock_fprog *filter);
int confine_load(const struct sock_fprog *filter, struct err *err) must_check;

/* Landlock's ABI here, 0 = none. */
int confine_landlock_abi(void);
/* No signals to, and no abstract sockets of, processes outside: 1 = done, 0 = this kernel cannot. */
int confine_scope(struct err *err) must_check;
