/*
 * What the parts of leaf share, and the pure pieces that are tested alone.
 *
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/proc/leaf.h"

#define LEAF_MEMORY_RESERVE (8ULL << 20)
#define LEAF_PIDS_RESERVE 8

/* The limit for the workload: limit less the reserve, or less an eighth where that is smaller. 0 = set none. */
uint64_t leaf_reserve(uint64_t limit, uint64_t reserve);
/* Is the pid a line of a cgroup.procs text? */
bool leaf_list_has(const char *list, uint32_t pid);

/* Fills ret_usage from a leaf's cgroup files (leaf_usage.c). */
void leaf_usage_from_group(const struct cgroup_dirs *d, struct leaf_usage *ret_usage);
