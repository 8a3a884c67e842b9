/*
 * Is memory short in this sandbox? Then what is kept only to be fast, or for later, goes.
 *
 * By the sandbox's own cgroup where it has a limit (usage without file pages that nobody uses), else by what the
 * machine has left. Reads two small files. Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/defs.h"

bool memory_is_short(void);
/* Bytes: the limit of the sandbox's group; 0 = none, or unknown. */
uint64_t memory_limit(void);
/* Bytes that the sandbox may use: its limit, or all there is. */
uint64_t memory_total(void);

/* Pure parts. Used and limit in bytes; limit 0 or UINT64_MAX: none. */
bool memory_exceeds(uint64_t used, uint64_t limit);
/* /proc/meminfo: less than 5 % available. */
bool memory_parse_meminfo(const char *text);
