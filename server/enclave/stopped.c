#include "server/enclave/stopped.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "server/enclave/config.h"

struct stopped_list {
    struct stopped *oldest; /* utlist DL, owned */
    unsigned n;
};

struct stopped_list *stopped_new(void)
{
    return xnew(struct stopped_list);
}

static void drop(struct stopped_list *list, struct stopped *s)
{
    DL_DELETE(list->oldest, s);
    list->n--;
    json_decref(s->config);
    free(s);
}

static void forget_old(struct stopped_list *list)
{
    while (list->oldest != NULL && list->oldest->until_ms < clock_monotonic_ms())
        drop(list, list->oldest);
}

void stopped_free(struct stopped_list *list)
{
    while (list != NULL && list->oldest != NULL)
        drop(list, list->oldest);
    free(list);
}

void stopped_add(struct stopped_list *list, const struct sandbox *sb)
{
    if (stopped_find(list, sb->id) != NULL) /* whoever asks twice while it is being stopped */
        return;
    if (list->n == STOPPED_MAX)
        drop(list, list->oldest);
    struct stopped *s = xnew(struct stopped);
    memcpy(s->id, sb->id, sizeof(s->id));
    snprintf(s->type, sizeof(s->type), "%s", enclave_type(sb));
    s->config = enclave_config_json(sb);
    s->created_us = sb->created_us;
    s->stopped_us = clock_wall_us();
    s->until_ms = clock_monotonic_ms() + STOPPED_MS;
    DL_APPEND(list->oldest, s);
    list->n++;
}

const struct stopped *stopped_find(struct stopped_list *list, const char *id)
{
    struct stopped *s;

    forget_old(list);
    DL_FOREACH(list->oldest, s)
    {
        if (strcmp(s->id, id) == 0)
            return s;
    }
    return NULL;
}

bool stopped_remove(struct stopped_list *list, const char *id)
{
    struct stopped *s = (struct stopped *)stopped_find(list, id);

    if (s != NULL)
        drop(list, s);
    return s != NULL;
}

const struct stopped *stopped_first(struct stopped_list *list)
{
    forget_old(list);
    return list->oldest;
}
