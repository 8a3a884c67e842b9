/*
 * A place of its own for one command, session or kernel: a cgroup leaf where there is one, else just its
 * session and process group.
 *
 * The leaf is what makes "kill the whole tree" and receipts true. Made below the directories that the server
 * handed over as descriptors (design decision 19), or below a writable cgroup that is PID 1's alone; where neither exists,
 * killing walks /proc for descendants and for members of the session, again and again until none is left
 * (hardening B01, B02). Thread rule: loop thread only.
 */
#pragma once

#include "execd/proc/pidref.h"
#include "execd/proc/plan.h"
#include "proto/base/cgroupfs.h"

struct leaf;

/* Finds out once what this container gives. `handed` (may be NULL) is the sandbox's own subtree, taken over. */
void leaf_setup(struct cgroup_dirs *handed);
void leaf_teardown(void);
/* "handed cgroup v1", "own cgroup v2", "none: read-only cgroup", ... for /metrics and logs. */
const char *leaf_mode(void);
/* Do runs get control groups of their own? */
bool leaf_has_groups(void);
/* The sandbox's own cgroup as far as known: for metrics. All -1 when there is none. Borrowed. */
const struct cgroup_dirs *leaf_root(void);

/* kind: what the group's name begins with; a number of its own makes it another one than that of a leaf before it, which
 * may still be under the knife. */
int leaf_new(const char *kind, struct leaf **ret_leaf, struct err *err) must_check;
/* For a process that one of `origin` forks, not execd. */
int leaf_new_below(const char *kind, const struct leaf *origin, struct leaf **ret_leaf,
                   struct err *err) must_check;
/* Adds the cgroup joins to a plan; descriptors stay owned by the leaf. */
void leaf_add_to_plan(struct leaf *leaf, struct spawn_plan *plan);
/* Tells the leaf its leader, for the walk where there is no cgroup. */
void leaf_set_leader(struct leaf *leaf, pid_t pid);

/* Sends signum to every process of the leaf (tree). Returns how many got it. */
int leaf_signal(struct leaf *leaf, int signum);
/* As leaf_signal, but never looks through the process table: without a group of its own only the leader's process
 * group gets it. The leader must not have been reaped. */
int leaf_signal_leader(struct leaf *leaf, int signum);
/* To the leader's process group alone, as a terminal's Ctrl-C would. The leader must not have been reaped. */
void leaf_signal_group(struct leaf *leaf, int signum);
/* SIGKILL to everything but `spared`; what forks meanwhile may be missed: call again. Returns how many got it. */
int leaf_kill_others(struct leaf *leaf, const struct pid_list *spared);
/* SIGKILL until nothing is left; never blocks longer than a few milliseconds per call; returns true when empty.
 * Call again from a timer while false. */
bool leaf_kill(struct leaf *leaf);
bool leaf_is_empty(struct leaf *leaf);

struct leaf_usage {
    bool from_cgroup; /* false: the leaf has no group of its own, and nothing is known */
    bool from_proc;   /* of one process and the children that it waited for: proc_usage_read */
    uint64_t cpu_user_us, cpu_system_us, memory_peak, io_read, io_written, pids_peak, throttled_us,
        oom_kills;
    uint64_t memory_limit, memory_now; /* now: 0 = unknown */
};
void leaf_read_usage(struct leaf *leaf, struct leaf_usage *ret_usage);
/* Kills for lack of memory in all leaves since the start, as far as their usage was read. Version 1 counts a kill in the
 * victim's own group only, not in those above. */
uint64_t leaf_oom_kills(void);

/* Removes the leaf; processes that are left are moved nowhere: kill first. Freed even when rmdir must be retried. */
void leaf_free(struct leaf *leaf);
