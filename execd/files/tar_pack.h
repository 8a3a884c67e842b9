/*
 * A tree as a tar archive, produced piece by piece.
 *
 * In the order of walk.h: folders, regular files, symbolic links as links; paths are relative to the root, which is
 * no member itself. Owners are numbers. A file with several names is written once for each. What is neither file,
 * folder nor link, cannot be read or has vanished is left out and counted. A file that shrinks while it is read ends
 * the archive with -EIO: its size has been promised. Constant memory, at most four descriptors.
 * Blocking: for the worker pool. Thread rule: one thread at a time.
 */
#pragma once

#include "proto/base/err.h"

#define PACK_PIECE (128 * 1024)

struct evbuffer;
struct pack;

int pack_new(const char *root, struct pack **ret_pack, struct err *err) must_check;
void pack_free(struct pack *p); /* NULL is fine */
/* Adds about PACK_PIECE bytes, or what a few milliseconds allow. 1: there is more; 0: that was the end; -errno. */
int pack_fill(struct pack *p, struct evbuffer *out, struct err *err) must_check;
uint64_t pack_skipped(const struct pack *p);
