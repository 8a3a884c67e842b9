/*
 * The way into a root for kernels without openat2, apart for its tests. Any thread.
 */
#pragma once

#include "proto/base/path.h"

/* As path_open_in_root, but a symbolic link anywhere in the path is -ELOOP or -ENOTDIR. */
int path_open_by_steps(int root_fd, const char *path, int flags, mode_t mode) must_check;
