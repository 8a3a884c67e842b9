/*
 * A libseccomp filter as the program that the kernel takes.
 *
 * Thread rule: any thread.
 */
#pragma once

#include <linux/filter.h>
#include <seccomp.h>

#include "proto/base/defs.h"

/* ret_program->filter goes to the caller (free). -errno; -E2BIG beyond the kernel's BPF_MAXINSNS. */
int program_export(scmp_filter_ctx ctx, struct sock_fprog *ret_program) must_check;
