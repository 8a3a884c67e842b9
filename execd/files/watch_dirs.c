#include "execd/files/watch_dirs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 16

void watch_dirs_done(struct watch_dirs *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->items[i].path);
    free(d->items);
    *d = (struct watch_dirs){0};
}

/* The first item whose number is not below wd. */
static size_t lower_bound(const struct watch_dirs *d, int wd)
{
    size_t low = 0, high = d->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (d->items[middle].wd < wd)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct watch_dirs *d, size_t i, int wd)
{
    return i < d->n && d->items[i].wd == wd;
}

static int reserve(struct watch_dirs *d)
{
    if (d->n < d->cap)
        return 0;
    size_t cap = MAX(d->cap * 2, (size_t)FIRST_CAP);
    struct watch_dir *grown = realloc(d->items, cap * sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    d->items = grown;
    d->cap = cap;
    return 0;
}

int watch_dirs_put(struct watch_dirs *d, int wd, const char *path)
{
    size_t i = lower_bound(d, wd);
    char *copy = strdup(path);

    if (copy == NULL || reserve(d) < 0) {
        free(copy);
        return -ENOMEM;
    }
    if (is_at(d, i, wd)) {
        free(d->items[i].path);
    } else {
        memmove(d->items + i + 1, d->items + i, (d->n - i) * sizeof(*d->items));
        d->n++;
    }
    /* -fanalyzer: the copy is the list's now */
    d->items[i] = (struct watch_dir){.wd = wd, .path = copy};
    return 0;
}

const char *watch_dirs_find(const struct watch_dirs *d, int wd)
{
    size_t i = lower_bound(d, wd);

    return is_at(d, i, wd) ? d->items[i].path : NULL;
}

void watch_dirs_remove(struct watch_dirs *d, int wd)
{
    size_t i = lower_bound(d, wd);

    if (!is_at(d, i, wd))
        return;
    free(d->items[i].path);
    d->n--;
    memmove(d->items + i, d->items + i + 1, (d->n - i) * sizeof(*d->items));
}

/* `path` is `top` or lies below it: what follows top, "" or "/...". NULL: it does not. */
static const char *rest_below(const char *path, const char *top)
{
    size_t len = strlen(top);

    if (len == 0 || strncmp(path, top, len) != 0)
        return len == 0 ? path : NULL;
    return path[len] == '\0' || path[len] == '/' ? path + len : NULL;
}

int watch_dirs_move(struct watch_dirs *d, const char *from, const char *to)
{
    for (size_t i = 0; i < d->n; i++) {
        const char *rest = rest_below(d->items[i].path, from);
        if (rest == NULL)
            continue;
        char *moved;
        if (asprintf(&moved, "%s%s", to, rest) < 0)
            return -ENOMEM;
        free(d->items[i].path);
        d->items[i].path = moved;
    }
    return 0;
}

void watch_dirs_drop(struct watch_dirs *d, const char *path, void (*on_drop)(void *, int),
                     void *arg)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->n; i++) {
        if (rest_below(d->items[i].path, path) == NULL) {
            d->items[kept++] = d->items[i];
            continue;
        }
        on_drop(arg, d->items[i].wd);
        free(d->items[i].path);
    }
    d->n = kept;
}
