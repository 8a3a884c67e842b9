#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/service/lifecycle_priv.h"

static bool has_label(const struct jmap *labels, const struct jpair *wanted)
{
    for (size_t i = 0; i < labels->n; i++) {
        if (strcmp(labels->items[i].key, wanted->key) == 0)
            return strcmp(labels->items[i].value, wanted->value) == 0;
    }
    return false;
}

static bool matches(const struct live *l, const struct lifecycle_filter *f)
{
    if (l->starting || l->sb.state == SANDBOX_STOPPING)
        return false;
    if (f->by_state && !f->states[l->sb.state])
        return false;
    for (size_t i = 0; i < f->metadata.n; i++) {
        if (!has_label(&l->sb.spec.metadata, &f->metadata.items[i]))
            return false;
    }
    return true;
}

/* Newest first; the id breaks ties so that paging is stable. */
static int newest_first(const void *a, const void *b)
{
    const struct sandbox *x = *(const struct sandbox *const *)a;
    const struct sandbox *y = *(const struct sandbox *const *)b;

    if (x->created_us != y->created_us)
        return x->created_us < y->created_us ? 1 : -1;
    return strcmp(y->id, x->id);
}

int lifecycle_list(struct lifecycle *lc, const struct lifecycle_filter *filter, struct arena *arena,
                   struct lifecycle_page *ret_page)
{
    size_t count = HASH_COUNT(lc->registry), n = 0;
    const struct sandbox **all = arena_alloc(arena, sizeof(*all) * (count + 1));
    struct live *l, *tmp;

    if (all == NULL)
        return -ENOMEM;
    HASH_ITER(hh, lc->registry, l, tmp)
    {
        if (matches(l, filter))
            all[n++] = &l->sb;
    }
    qsort(all, n, sizeof(*all), newest_first);
    size_t first = MIN((size_t)(filter->page - 1) * filter->page_size, n);
    ret_page->items = all + first;
    ret_page->n = MIN((size_t)filter->page_size, n - first);
    ret_page->total = n;
    return 0;
}
