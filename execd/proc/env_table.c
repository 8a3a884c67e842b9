#include "execd/proc/env_table.h"

#include <errno.h>
#include <string.h>

#include "proto/base/ids.h"
#include "proto/base/mem.h"

#define FIRST_CAP 64

static uint64_t hash_seed(void)
{
    static uint64_t seed;
    while (seed == 0)
        ids_random(&seed, sizeof(seed));
    return seed;
}

/* FNV-1a, seeded. */
static uint64_t hash_name(const char *name, size_t len)
{
    uint64_t h = 14695981039346656037ULL ^ hash_seed();
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)name[i]) * 1099511628211ULL;
    return h ^ (h >> 32);
}

void env_table_init(struct env_table *t, struct arena *arena)
{
    *t = (struct env_table){.arena = arena};
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t *find_slot(const struct env_table *t, const char *name, size_t name_len)
{
    for (size_t i = (size_t)hash_name(name, name_len);; i++) {
        uint32_t *slot = &t->slots[i & (t->n_slots - 1)];
        if (*slot == 0)
            return slot;
        const struct env_entry *e = &t->entries[*slot - 1];
        if (e->name_len == name_len && memcmp(e->name, name, name_len) == 0)
            return slot;
    }
}

/* Doubles both arrays (the arena keeps the old ones; their sum is less than the new ones). */
static int grow(struct env_table *t)
{
    size_t cap = t->cap == 0 ? FIRST_CAP : t->cap * 2;
    struct env_entry *entries = arena_alloc(t->arena, cap * sizeof(*entries));
    uint32_t *slots = arena_alloc(t->arena, 2 * cap * sizeof(*slots));
    if (entries == NULL || slots == NULL)
        return -ENOMEM;
    if (t->n > 0)
        memcpy(entries, t->entries, t->n * sizeof(*entries));
    t->entries = entries;
    t->cap = cap;
    t->slots = slots;
    t->n_slots = 2 * cap;
    for (size_t i = 0; i < t->n; i++)
        *find_slot(t, entries[i].name, entries[i].name_len) = (uint32_t)(i + 1);
    return 0;
}

int env_table_set(struct env_table *t, const char *name, size_t name_len, const char *value)
{
    if (t->n == t->cap) {
        int result = grow(t);
        if (result < 0)
            return result;
    }
    uint32_t *slot = find_slot(t, name, name_len);
    if (*slot != 0) {
        t->entries[*slot - 1].value = value;
        return 0;
    }
    if (t->n >= ENV_ENTRIES_MAX)
        return -E2BIG;
    t->entries[t->n++] = (struct env_entry){.name = name, .name_len = name_len, .value = value};
    *slot = (uint32_t)t->n;
    return 0;
}
