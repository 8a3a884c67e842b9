/*
 * Where the upper layers of isolated sessions lie: a directory of this execd below the configured one.
 *
 * ROOT/execd-ID is locked for as long as execd lives; what an earlier one left behind carries no lock and is removed at
 * start. Where ROOT lies on a file system that cannot hold upper layers (overlayfs: the root of most containers), a
 * file system in memory is mounted there. Removal happens in the worker pool, whatever the depth of a tree.
 * Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"

struct work_pool;
struct store;

int store_open(const char *root, struct work_pool *pool, struct store **ret_store,
               struct err *err) must_check;
/* For the end of execd: removes what can be removed in a second; the next start finds the rest. NULL is fine. */
void store_close(struct store *s);
/* The same in the pool, whatever it takes: nobody uses it any more. */
void store_retire(struct store *s);
const char *store_path(const struct store *s);

/* "PATH/name" and in it n directories "0".."n-1", mode 0700. */
int store_make(struct store *s, const char *name, size_t n, struct err *err) must_check;
/* In the pool; what is still in use by somebody goes with its last user. */
void store_remove(struct store *s, const char *name);

/* Deletes what is in the directory and the directory itself. For the worker pool. limit_ms 0 = none; -ETIMEDOUT. */
int store_remove_tree(int dir_fd, const char *name, int64_t limit_ms) must_check;
