/*
 * Which directory each inotify watch of one instance stands for.
 *
 * Paths are relative to the watched root, "" is the root itself. Numbers are given out upwards by the kernel, so
 * adding is cheap. Pure. Thread rule: the owner's thread.
 */
#pragma once

#include "proto/base/defs.h"

struct watch_dirs {
    struct watch_dir {
        int wd;
        char *path; /* owned */
    } * items;      /* owned, sorted by wd */
    size_t n, cap;
};

void watch_dirs_done(struct watch_dirs *d); /* legal on a zeroed struct */
/* A number that is known already gets the new path. -ENOMEM. */
int watch_dirs_put(struct watch_dirs *d, int wd, const char *path) must_check;
const char *watch_dirs_find(const struct watch_dirs *d, int wd); /* borrowed; NULL = unknown */
void watch_dirs_remove(struct watch_dirs *d, int wd);
/* A directory has moved inside the tree, with all below it. -ENOMEM leaves some at their old paths. */
int watch_dirs_move(struct watch_dirs *d, const char *from, const char *to) must_check;
/* Forgets the directory at `path` and all below it, telling each number. */
void watch_dirs_drop(struct watch_dirs *d, const char *path, void (*on_drop)(void *arg, int wd),
                     void *arg);
