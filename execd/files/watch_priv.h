/* One watch, as watch.c (life and scans) and watch_events.c (what the kernel says) share it. Loop thread only. */
#pragma once

#include <sys/queue.h>

#include "execd/files/watch.h"
#include "execd/files/watch_scan.h"
#include "proto/base/ids.h"

/*
 * The descriptor is read only while no directory is to be scanned:
 *
 *   start → scanning the root → following ⇄ scanning what is new → ended
 *
 * A watch that ends while a scan is in the pool is freed when the scan comes back.
 */
struct watch {
    TAILQ_ENTRY(watch) link;
    char id[ID_HEX_LEN + 1];
    char *root; /* owned */
    bool recursive;
    struct work_pool *pool;                  /* borrowed */
    struct channel *ch;                      /* ref; NULL until the root is watched */
    int fd;                                  /* owned: inotify */
    struct event *readable, *timer, *settle; /* owned */
    struct watch_dirs dirs;
    int root_wd; /* -1: not watched yet, or gone */
    bool root_is_dir;
    struct watch_dirs todo; /* directories to scan, by the order of their numbers */
    int next_todo;
    struct watch_scan scan;
    bool scanning, gone;
    bool missed;      /* a directory had vanished before its scan: it may be under a new name */
    char *moved_from; /* owned: waits for the other half of the move; NULL = none */
    uint32_t moved_cookie;
    bool moved_is_dir;
    int64_t read_ms; /* when somebody was following last */
    watch_started_fn on_started;
    void *arg;
};

/* watch_events.c: reads what is there, a bounded piece of it. */
void watch_read(struct watch *w);
/* The other half of a move has not come: it went out of the tree. */
void watch_settle_move(struct watch *w);
void watch_tell(struct watch *w, const char *kind, const char *path, bool is_dir, const char *from);

#define WATCH_GAP_LIMIT "{\"reason\":\"limit\"}"
#define WATCH_GAP_OVERFLOW "{\"reason\":\"overflow\"}"
void watch_tell_gap(struct watch *w, const char *fragment);

/* watch.c */
void watch_want_scan(struct watch *w, const char *path); /* reading stops until it is done */
void watch_await(struct watch *w); /* watch_settle_move, or the next scan, in a moment */
