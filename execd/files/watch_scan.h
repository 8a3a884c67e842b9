/*
 * Puts inotify watches onto a directory and everything below it, in the worker pool, step by step.
 *
 * A directory is watched before its entries are read, so that nothing is missed in between; what appears meanwhile
 * may be found twice. While a scan is under way its owner must not read the inotify descriptor: the numbers in its
 * events are known to the owner only afterwards. Thread rule: watch_scan_work in the pool, the rest on the loop,
 * never both at once.
 */
#pragma once

#include "execd/files/watch_dirs.h"
#include "proto/base/str.h"

struct walk;

struct watch_scan {
    int inotify_fd;   /* borrowed */
    const char *root; /* borrowed: absolute path of the watched tree */
    char *path;       /* owned: where to begin, relative to root; "" = the root itself */
    bool recursive;
    bool report;                    /* write down what was found below path */
    const struct watch_dirs *known; /* borrowed: what is watched already, unchanged during a step */
    size_t room;                    /* watches that may still be added */
    uint32_t mask;                  /* for inotify_add_watch */
    struct walk *walk;              /* owned */

    /* Filled by one step, emptied by the loop before the next. */
    struct watch_dirs added;
    struct strbuf found; /* kind byte ('d' or 'f'), path relative to root, NUL, ... */
    bool begun, ended;
    bool is_dir;     /* where it began */
    bool vanished;   /* a directory was gone before it could be watched: perhaps only renamed */
    bool over_limit; /* a directory is not watched: no room, or the kernel's limit is reached */
    int error;       /* -errno: the beginning itself could not be watched */
};

/* path is copied. The borrowed fields are set by the caller. */
void watch_scan_init(struct watch_scan *s, const char *path);
void watch_scan_done(struct watch_scan *s);
void watch_scan_work(struct watch_scan *s);  /* one step of a few milliseconds */
void watch_scan_clear(struct watch_scan *s); /* the results were taken */
