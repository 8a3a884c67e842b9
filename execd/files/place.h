/*
 * Where a path leads: the folder, opened, and the last name in it. What changes files acts on that pair, so a link
 * that is planted or exchanged meanwhile changes nothing outside (hardening F07, F08).
 *
 * Symbolic links on the way are followed under one rule: a link of another user (not root, not ours) leads only to
 * what the same user owns. So a client who names a path that a command prepared as uid 1000 cannot be led to
 * /etc/shadow (hardening F09). Thread rule: any thread; may block on disk.
 */
#pragma once

#include <errno.h>
#include <limits.h>

#include "proto/base/err.h"

struct place {
    int dir_fd;              /* owned; O_PATH */
    char name[NAME_MAX + 1]; /* "." for "/" */
};
#define PLACE_UNSET ((struct place){.dir_fd = -1})

enum place_flags {
    PLACE_FOLLOW = 1 << 0, /* a link at the end is followed too; a missing end is fine */
    PLACE_MKDIRS = 1 << 1, /* folders that are missing on the way are made, 0755 */
};

/* Folders that PLACE_MKDIRS makes get this owner; -1 = ours. */
struct place_owner {
    uid_t uid;
    gid_t gid;
};

/* path is absolute. owner may be NULL. -ENOENT, -ENOTDIR, -EACCES, -ELOOP, ... with err. */
int place_find(const char *path, unsigned flags, const struct place_owner *owner,
               struct place *ret_place, struct err *err) must_check;
void place_done(struct place *place);
#define cleanup_place __attribute__((cleanup(place_done)))

/* Whether we might write to what is there, although a rename beside it will not ask. -errno. */
int place_check_writable(const struct place *place) must_check;

/* Does the errno say that a path names nothing? A link that leads back to itself names nothing, either. */
static inline bool place_is_missing(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP;
}

/* err from an errno as it stands for a path: missing, no space, or not accessible. Returns -errnum. */
int place_fail(struct err *err, int errnum, const char *what, const char *path);
