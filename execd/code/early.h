/*
 * Variables that are read once, at a start: two environments that agree in them may share what has started.
 *
 * Pure. Thread rule: any thread. Source: contracts/kernels.md 3.3.
 */
#pragma once

#include "proto/base/defs.h"

enum early_reader {
    EARLY_INTERPRETER, /* Python itself and the loader */
    EARLY_KERNEL,      /* those, and what IPython reads while it builds a kernel */
};

/* Both are NULL-terminated lists of NAME=VALUE; the order does not matter. */
bool early_same(const char *const *a, const char *const *b, enum early_reader reader);
