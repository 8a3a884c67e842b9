/*
 * One layer of an isolated session, entry by entry: what lies in the upper directory, and what it stands for below.
 *
 * Symbolic links are never followed on either side. What is mounted inside the lower directory was not in the session's
 * sight and is not in ours: only the directory that it covers. Blocking: for the worker pool. Thread rule: one thread at a time.
 */
#pragma once

#include <sys/stat.h>

#include "proto/base/err.h"

enum layer_kind { LAYER_SAME, LAYER_ADDED, LAYER_MODIFIED, LAYER_DELETED };

struct layer_entry {
    const char *path; /* below the layer's top */
    const char *name; /* its last component */
    int upper_dir;    /* where `name` lies in the upper layer; borrowed */
    int lower_dir; /* where `name` lies in the lower layer, O_PATH; -1 = its directory is not there; borrowed */
    struct stat upper, lower; /* lower: only with has_lower */
    bool has_lower;
    bool opaque;                  /* a directory that hides the lower one's content */
    bool is_covered, holds_mount; /* something is mounted at or above it; below it */
    enum layer_kind kind;
};

/* Calls visit for every entry, directories before what is in them; a negative answer ends it and is returned. */
typedef int (*layer_visit_fn)(void *arg, const struct layer_entry *e, struct err *err);
int layer_each(const char *lower, const char *upper, layer_visit_fn visit, void *arg,
               struct err *err) must_check;

/* Calls visit for every name in the lower directory of an opaque entry that the upper one has not. */
typedef int (*layer_hidden_fn)(void *arg, const struct layer_entry *e, int lower_dir,
                               const char *name, struct err *err);
int layer_each_hidden(const struct layer_entry *e, layer_hidden_fn visit, void *arg,
                      struct err *err) must_check;
