/*
 * The file systems of an isolated session, made by its first process in a mount namespace of its own.
 *
 * Everything is read-only but the mounts of the plan; /dev has the harmless devices only, /proc shows the session's
 * processes, /tmp is private in the strict profile. Nothing is unmounted or moved away: what the session may see is
 * prepared as detached trees while paths still mean what execd checked, then "/" is made read-only as a whole, then
 * the trees are put into place.
 * Thread rule: a single-threaded process that has unshared its mount namespace. Not for execd itself.
 */
#pragma once

#include "execd/isolate/plan.h"

struct view {
    int trees[4 * ISOLATE_MOUNTS_MAX]; /* detached, by index of the plan's mounts */
    size_t n_trees;
    int dev[8]; /* detached device nodes; -1 = not there */
    int tmp;    /* the shared /tmp; -1 in the strict profile */
    int proc;   /* a handle of execd's /proc, writable, for uid maps */
    bool own_proc;
};

/* Marks all propagation private and prepares the trees. */
int view_prepare(const struct isolate_plan *plan, struct view *ret_view,
                 struct err *err) must_check;
/* Makes "/" read-only and puts the trees into place; the view keeps `proc` only. */
int view_build(const struct isolate_plan *plan, struct view *view, struct err *err) must_check;
void view_done(struct view *view);
