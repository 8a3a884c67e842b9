/*
 * A walk over a tree in lexical order, in small steps and bounded memory.
 *
 * Every directory comes before what is in it; names are ordered by their bytes, directory by directory. Symbolic
 * links are reported and never followed, not even one that takes the place of a directory meanwhile: each directory is
 * opened by path_open_beneath or O_NOFOLLOW. What cannot be read or has vanished is left out (hardening F16).
 * Memory: the names of the directories on the way are kept within WALK_NAMES_MAX; of a directory with more the
 * lowest are taken first and the directory is read again for the next ones. Two descriptors.
 * Blocking: for the worker pool. Thread rule: one thread at a time.
 */
#pragma once

#include "proto/base/err.h"

#define WALK_NAMES_MAX (8U << 20) /* bytes */
#define WALK_DEPTH_MAX 512        /* levels below the root; what is deeper is cut off */

struct walk;

struct walk_entry {
    const char *path;   /* relative to the root; valid until the next call */
    const char *name;   /* its last component */
    int dir_fd;         /* where `name` lies; valid until the next call */
    unsigned char type; /* DT_REG, DT_DIR, ...: never DT_UNKNOWN */
};

enum walk_result {
    WALK_ENTRY,
    WALK_WORKING, /* a piece of a large directory was read: call again */
    WALK_END,
};

/* Follows symbolic links up to the root itself. -ENOTDIR, -ENOENT, -EACCES ... */
int walk_new(const char *root, struct walk **ret_walk) must_check;
void walk_free(struct walk *w); /* NULL is fine */
enum walk_result walk_next(struct walk *w, struct walk_entry *ret_entry);
void walk_skip(struct walk *w);         /* does not go into the folder that was reported last */
bool walk_is_cut(const struct walk *w); /* something was too deep, too long, or found no memory */
bool walk_lacks_memory(const struct walk *w); /* the last of these */
