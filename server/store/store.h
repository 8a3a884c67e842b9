/*
 * Durable state of the control plane: one SQLite file in WAL mode.
 *
 * store_put and store_delete return only after the change is on disk (synchronous=FULL): the service answers a
 * client after that (design decision 15). One process per file (flock on PATH.lock). Only store/ includes sqlite3.h.
 * Rows carry the spec as JSON, so that a newer column needs no migration of old rows; schema versions in
 * user_version, newer than ours is refused. Thread rule: loop thread only (writes are small; fsync is the price).
 */
#pragma once

#include "server/model/sandbox.h"

struct store;

int store_open(const char *path, struct store **ret_store, struct err *err) must_check;
void store_close(struct store *store);

int store_put(struct store *store, const struct sandbox *sb,
              struct err *err) must_check; /* insert or replace */
int store_delete(struct store *store, const char *id, struct err *err) must_check;

/* Calls fn for every row; the sandbox is on loan for the call (its arena may be moved out: set sb->arena to zero). */
int store_each(struct store *store, int (*fn)(void *arg, struct sandbox *sb), void *arg,
               struct err *err) must_check;

/* Small named values: the owner mark of this server's sandboxes, the master key of the tokens (32 bytes as hex). */
/* -ENOENT: never stored, err is untouched. Any other failure means that there is one which must not be replaced. */
int store_get_value(struct store *store, const char *name, char *buf, size_t size,
                    struct err *err) must_check;
int store_put_value(struct store *store, const char *name, const char *value,
                    struct err *err) must_check;
