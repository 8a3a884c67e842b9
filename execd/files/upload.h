/*
 * Writing a file for a client: into a temporary file beside its target, then fsync and rename.
 *
 * A reader sees the old or the new file, never a part; a failure leaves the old one and no litter (hardening F10).
 * Mode and owner are set on the descriptor before the rename; without them an existing file keeps its own and a new
 * one gets 0644. Parents are made, for the owner that is asked for. Symbolic links are followed by the rule of place.h;
 * special files are refused. A hash is compared before the rename, over what the file holds then; a mismatch leaves the
 * old file and nothing else. Thread rule: loop thread only (hashing, fsync and rename run in the pool, in steps).
 */
#pragma once

#include "proto/base/codec.h"
#include "proto/base/err.h"

struct work_pool;
struct upload;

struct upload_target {
    const char *path;      /* absolute, already expanded */
    const char *owner;     /* name or NULL */
    const char *group;     /* name or NULL */
    int mode;              /* permission bits; -1 = keep / default */
    const uint8_t *sha256; /* SHA256_LEN bytes that the whole file must have; NULL = any; copied */

    /* In parts: what comes is appended at `offset` to a partial file beside the target, which stays when the upload
     * breaks off; with `total` bytes (or, without one, at the end of this part) it is put in place. */
    bool in_parts;
    uint64_t offset; /* must be the partial file's size; 0 begins anew */
    uint64_t total;  /* UPLOAD_NO_TOTAL = this is the last part */
};
#define UPLOAD_NO_TOTAL UINT64_MAX

int upload_begin(const struct upload_target *target, struct upload **ret_upload,
                 struct err *err) must_check;
int upload_write(struct upload *u, const void *p, size_t n, struct err *err) must_check;
/* Commits in the pool and calls on_done (posted, once): err NULL on success. The upload is gone afterwards. */
void upload_commit(struct upload *u, struct work_pool *pool,
                   void (*on_done)(void *arg, const struct err *err), void *arg);
void upload_abort(
    struct upload *u); /* removes the temporary file, keeps a partial one; NULL is fine */
/* How many bytes of an upload in parts are there. -ENOENT, with err, when none is under way. */
int upload_part_size(const char *path, uint64_t *ret_size, struct err *err) must_check;
