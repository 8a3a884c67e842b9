/*
 * The root file system of a sandbox, made by its own first process: overlay, the rows of the mount plan, pivot_root.
 *
 * Every target is resolved below a descriptor of the mount it belongs to, inside the root, without magic links
 * (hardening L04, L05, L08); the image cannot lead a mount elsewhere. Private to setup_child.c: raw system calls only.
 */
#pragma once

#include "server/runtime/native/plan.h"

struct setup_root {
    int base[BASE_MAX]; /* roots of the mounts that rows resolve in; -1 = not yet */
};

/* All: 0, or -errno with *ret_what naming the row or option (borrowed from the plan, may stay NULL). */
int root_mount(const struct plan *plan, struct setup_root *ret_root,
               const char **ret_what) must_check;
int root_fill(const struct plan *plan, struct setup_root *root, const char **ret_what) must_check;
int root_enter(const struct setup_root *root) must_check;
