/*
 * Control groups of the sandboxes: one group per sandbox in every hierarchy, below one parent of ours.
 *
 * The parent lies below the server's own group, or beside it where that is a cgroup2 leaf named "server". A group's
 * limit files stay root's; the directory itself and its process lists are given to the sandbox's root user, because
 * execd makes sub-groups in it (design decision 19).
 * A started group is found again by the absolute paths that are kept with the sandbox, not by where the server runs.
 * Thread rule: any thread; one `struct groups` belongs to the loop thread.
 * Source: kernel Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/; hardening.md 4.7, L10, L11, M21.
 */
#pragma once

#include "proto/base/cgroupfs.h"
#include "server/model/sandbox.h"

struct groups {
    struct cgroup_dirs parent;         /* owned; -1 where this host gives us nothing */
    char *path[CGROUP_CONTROLLER_MAX]; /* owned; absolute path of the parent group */
    char *why[CGROUP_CONTROLLER_MAX];  /* owned; the reason where there is no parent */
};

/* Makes the parent group `name` wherever that is possible; where it is not, `why` says so. 0 even if nowhere. */
int groups_open(const char *name, struct groups *ret_groups, struct err *err) must_check;
void groups_done(
    struct groups *groups); /* closes; the parent groups stay while they hold sandboxes */

struct group_limits {
    uint64_t memory_bytes, millicpu, pids; /* 0 = none */
};
/* -EOPNOTSUPP with the reason for a limit that cannot be applied here, -EINVAL for one that makes no sense. */
int groups_check(const struct groups *groups, const struct group_limits *limits,
                 struct err *err) must_check;

/* Makes the group `name` with its limits, given to uid. -errno with nothing left behind. */
int groups_make(const struct groups *groups, const char *name, const struct group_limits *limits,
                uid_t uid, struct cgroup_dirs *ret_dirs, struct err *err) must_check;

/* Absolute paths of group `name`, each directory once. In the arena. */
int groups_paths(const struct groups *groups, const char *name, struct arena *arena,
                 struct jstrings *ret_paths) must_check;

/* --- a group by its paths --- */
/* Thaws the group and every group below, whoever froze them: execd may have been killed while it froze a leaf, and a
 * frozen process does not die. */
void group_thaw_all(const struct jstrings *paths);
int group_kill(const struct jstrings *paths) must_check; /* SIGKILL to every member; -errno */
int group_remove(const struct jstrings *paths)
    must_check; /* deepest first; -EBUSY while processes are left */
int group_freeze(const struct jstrings *paths,
                 bool frozen) must_check; /* -EOPNOTSUPP without a freezer */
/* Has the freezer reached the state that was asked for? */
bool group_is_settled(const struct jstrings *paths, bool frozen);
bool group_had_oom(const struct jstrings *paths); /* was a member killed for want of memory? */
