/*
 * The process table as /proc shows it: for finding everything that descends from a command where no cgroup helps,
 * and everything that descends from us at shutdown.
 *
 * How a process is known to belong to a command: by its tag. RLIMIT_LOCKS has had no effect since Linux 2.4.25, is
 * inherited over fork, exec and setsid, stays when a parent dies, and can be read for every process from
 * /proc/PID/limits without privilege: spawn gives each command its own value. A daemon that forks twice, makes its
 * own session and is adopted by execd is still found. What escapes: a process that lowers its own "max file locks"
 * (or raises it, with CAP_SYS_RESOURCE) on purpose; its session may still give it away.
 * Processes are signalled through a pidfd opened before the tag was read again, so a reused number is not hit.
 * Thread rule: loop thread only. Nothing here blocks; one scan reads two small files per process.
 */
#pragma once

#include "execd/proc/pidref.h"

/* Never given out as a tag. */
#define TREE_NO_TAG 0

/* A random tag below our own hard limit, unique for all practical purposes also among several execds on one
 * machine; TREE_NO_TAG when the limit leaves no room. */
uint64_t tree_new_tag(void);

/* A tag for what a process with this one forks: it may lower its limit, but not raise it. As random as it need be
 * beside the other. */
uint64_t tree_new_tag_below(uint64_t tag);

/* Signals every living process (zombies do not count) that carries the tag, or is in session `session` when that
 * is not 0, but for those that are spared (NULL: none). signum 0 only counts. Returns how many there were, -errno when /proc cannot be read. */
int tree_signal_tagged(uint64_t tag, pid_t session, int signum,
                       const struct pid_list *spared) must_check;

/* Signals every living process below us: as PID 1 everything in the namespace, else what descends from us by
 * parents (orphans are ours: we are their subreaper). Returns how many there were, -errno when /proc cannot be
 * read (as PID 1 they are signalled all the same). signum 0 only counts. */
int tree_signal_all(int signum) must_check;
