/*
 * A map from variable names to values that remembers the order of first insertion; the last value wins.
 *
 * Lives in an arena and dies with it. Names are compared by bytes up to name_len. The hash is seeded per process,
 * so that a hostile env file cannot make lookups slow. Thread rule: the arena's.
 */
#pragma once

#include "proto/base/defs.h"

#define ENV_ENTRIES_MAX 10000

struct arena;

struct env_entry {
    const char *name; /* borrowed; not necessarily terminated */
    size_t name_len;
    const char *value; /* borrowed, NUL-terminated */
};

struct env_table {
    struct arena *arena; /* borrowed */
    struct env_entry *entries;
    size_t n, cap;
    uint32_t *slots; /* index + 1 into entries; 0 = free; n_slots is a power of two */
    size_t n_slots;
};

void env_table_init(struct env_table *t, struct arena *arena);
/* -ENOMEM, -E2BIG beyond ENV_ENTRIES_MAX. The strings are not copied. */
int env_table_set(struct env_table *t, const char *name, size_t name_len,
                  const char *value) must_check;
