#include "execd/files/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 1024

void names_init(struct names *names, size_t max)
{
    *names = (struct names){.max = max};
}

void names_done(struct names *names)
{
    free(names->bytes);
    free(names->offsets);
    names_init(names, names->max);
}

const char *names_at(const struct names *names, size_t i)
{
    return names->bytes + names->offsets[i] + 1;
}

unsigned char names_tag(const struct names *names, size_t i)
{
    return (unsigned char)names->bytes[names->offsets[i]];
}

size_t names_bytes(const struct names *names)
{
    return names->cap + names->n_cap * sizeof(*names->offsets);
}

static int compare(const void *a, const void *b, void *bytes)
{
    const char *base = bytes;

    return strcmp(base + *(const uint32_t *)a + 1, base + *(const uint32_t *)b + 1);
}

void names_sort(struct names *names)
{
    if (names->n > 1)
        qsort_r(names->offsets, names->n, sizeof(*names->offsets), compare, names->bytes);
}

/* Keeps the lower half. */
static int halve(struct names *names)
{
    char *kept = malloc(names->cap);
    size_t used = 0;

    if (kept == NULL)
        return -ENOMEM;
    names_sort(names);
    names->n /= 2;
    for (size_t i = 0; i < names->n; i++) {
        const char *record = names->bytes + names->offsets[i];
        size_t len = strlen(record + 1) + 2;
        memcpy(kept + used, record, len);
        names->offsets[i] = (uint32_t)used;
        used += len;
    }
    free(names->bytes);
    names->bytes = kept;
    names->used = used;
    names->dropped = true;
    const char *highest = names_at(names, names->n - 1);
    memcpy(names->ceiling, highest, strlen(highest) + 1);
    return 0;
}

static int reserve(struct names *names, size_t len)
{
    if (names->used + len > names->cap) {
        size_t cap = MAX(names->cap * 2, (size_t)FIRST_CAP);
        char *grown = realloc(names->bytes, cap);
        if (grown == NULL)
            return -ENOMEM;
        names->bytes = grown;
        names->cap = cap;
    }
    if (names->n == names->n_cap) {
        size_t n_cap = MAX(names->n_cap * 2, (size_t)FIRST_CAP / 16);
        uint32_t *grown = realloc(names->offsets, n_cap * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        names->offsets = grown;
        names->n_cap = n_cap;
    }
    return 0;
}

int names_add(struct names *names, unsigned char tag, const char *name)
{
    size_t len = strlen(name) + 2;

    if (len - 1 > sizeof(names->ceiling))
        return -ENAMETOOLONG;
    if (names->dropped && strcmp(name, names->ceiling) > 0)
        return 0;
    if (names->used + len + names->n * sizeof(*names->offsets) > names->max && names->n > 1) {
        int rc = halve(names);
        if (rc < 0)
            return rc;
        if (strcmp(name, names->ceiling) > 0)
            return 0;
    }
    int rc = reserve(names, len);
    if (rc < 0)
        return rc;
    names->bytes[names->used] = (char)tag;
    memcpy(names->bytes + names->used + 1, name, len - 1);
    names->offsets[names->n++] = (uint32_t)names->used;
    names->used += len;
    return 0;
}
