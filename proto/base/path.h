/*
 * Paths: lexical cleaning, expansion of ~ and $NAME, and descriptor-only resolution inside a root.
 *
 * Thread rule: any thread. PATH_MAX (4096) is the limit of every path that comes from a client.
 */
#pragma once

#include "proto/base/err.h"

/* Cleans lexically ("a//b/../c" → "a/c"; never above "/" for absolute paths). out has PATH_MAX bytes. -ENAMETOOLONG. */
int path_clean(const char *in, char *out) must_check;

/* Joins base and rel (rel alone when absolute) and cleans. out has PATH_MAX bytes. */
int path_join(const char *base, const char *rel, char *out) must_check;

/* Looks a variable up; NULL when undefined. */
typedef const char *(*path_lookup_fn)(const char *name, void *arg);

/* Expands a leading ~ or ~/ by HOME and $NAME / ${NAME} by lookup (contracts/execd.md 3.6, v1.1 1.1).
 * A '$' that begins no name stays literal. -EINVAL with every undefined name in err, -ENAMETOOLONG,
 * -ENOMEM. out has PATH_MAX bytes. */
int path_expand(const char *in, path_lookup_fn lookup, void *arg, char *out,
                struct err *err) must_check;

/* Opens path below root_fd so that neither "..", absolute nor magic links leave it (openat2
 * RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS). Returns a CLOEXEC descriptor or -errno.
 * Where openat2 is missing or forbidden the path is walked by O_NOFOLLOW steps: symbolic links are then refused
 * (-ELOOP, -ENOTDIR) instead of resolved inside the root. */
int path_open_in_root(int root_fd, const char *path, int flags, mode_t mode) must_check;

/* The same with no symbolic link at all on the way: one anywhere is -ELOOP or -ENOTDIR (openat2 RESOLVE_BENEATH |
 * RESOLVE_NO_SYMLINKS). For trees in which somebody may exchange a directory for a link. */
int path_open_beneath(int root_fd, const char *path, int flags, mode_t mode) must_check;

/* mkdir -p below root_fd under the same rule; existing directories stay as they are. */
int path_mkdirs_in_root(int root_fd, const char *path, mode_t mode) must_check;

/* Last component ("" for "/"); points into path. */
const char *path_basename(const char *path);
