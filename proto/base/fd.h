/*
 * File descriptors: whole reads and writes, bounded file slurps, flags, bulk closing.
 *
 * Everything made here is CLOEXEC at birth. Thread rule: any thread.
 */
#pragma once

#include "proto/base/cleanup.h"
#include "proto/base/defs.h"

int fd_set_nonblock(int fd, bool on) must_check;
int fd_pipe(int ret_fds[2]) must_check; /* O_CLOEXEC, blocking */
int fd_dup_cloexec(int fd) must_check;  /* number ≥ 3 */

/* Writes all or fails with -errno; retries EINTR. For blocking descriptors and small regular files. */
int fd_write_all(int fd, const void *p, size_t n) must_check;
/* Reads until EOF or n bytes; returns the count. */
ssize_t fd_read_full(int fd, void *p, size_t n) must_check;

/* Reads a small file (procfs, cgroupfs, configuration) below dirfd into buf, NUL-terminated.
 * Returns the length, -EFBIG when it does not fit in size-1, or -errno. */
ssize_t fd_slurp_at(int dirfd, const char *path, char *buf, size_t size) must_check;
/* Same into fresh memory of at most max bytes (caller frees). */
int fd_slurp_alloc(int dirfd, const char *path, size_t max, char **ret_data,
                   size_t *ret_len) must_check;
/* One write(2) of the whole text to an existing file below dirfd (cgroupfs and sysctl semantics). */
int fd_spew_at(int dirfd, const char *path, const char *text) must_check;

/* Closes every descriptor ≥ first (close_range, falling back to /proc/self/fd). */
void fd_close_from(int first);
/* Makes sure 0, 1 and 2 are open, on /dev/null where they were closed. */
int fd_fix_stdio(void) must_check;
