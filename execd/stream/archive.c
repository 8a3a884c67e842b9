#include "execd/stream/archive.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "proto/base/ids.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

#define BUDGET_DEFAULT (UINT64_C(64) << 20)
#define RETAIN_DEFAULT (1024 * 1024)
#define RETAIN_MIN (64 * 1024)
#define ENDED_MAX_DEFAULT 10000
#define ENDED_MS_DEFAULT (INT64_C(3600) * 1000)
#define SWEEP_S 30

struct entry {
    char id[ID_UUID_LEN + 1];
    struct channel *ch; /* ref */
    bool verbatim;
    size_t bytes; /* counted once it has ended */
    int64_t ended_ms;
    struct entry *prev, *next; /* in open or ended, oldest first */
    UT_hash_handle hh;
};

struct archive {
    struct archive_config config;
    struct entry *by_id; /* uthash; owns */
    struct entry *open, *ended;
    unsigned n_open, n_ended;
    size_t ended_bytes;
    struct event *sweep; /* owned; runs while something is held */
};

static void forget(struct archive *a, struct entry *e)
{
    DL_DELETE(a->ended, e);
    a->n_ended--;
    a->ended_bytes -= e->bytes;
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): what is found by its id has its table
    HASH_DEL(a->by_id, e);
    channel_unref(e->ch);
    free(e);
}

/* Channels do not tell us when they end: those that have are moved over when somebody looks. */
static void collect_ended(struct archive *a)
{
    struct channel_stats stats;
    struct entry *e, *tmp;

    DL_FOREACH_SAFE(a->open, e, tmp)
    {
        if (!channel_is_closed(e->ch))
            continue;
        channel_get_stats(e->ch, &stats);
        e->bytes = stats.bytes_held;
        e->ended_ms = clock_monotonic_ms();
        DL_DELETE(a->open, e);
        DL_APPEND(a->ended, e);
        a->n_open--;
        a->n_ended++;
        a->ended_bytes += e->bytes;
    }
}

static void sweep(struct archive *a)
{
    int64_t limit = clock_monotonic_ms() - a->config.ended_ms;

    collect_ended(a);
    while (a->ended != NULL) {
        bool over = a->ended_bytes > a->config.budget || a->n_ended > a->config.ended_max;
        if (!over && a->ended->ended_ms >= limit)
            return;
        forget(a, a->ended);
    }
}

static void arm(struct archive *a)
{
    static const struct timeval tv = {.tv_sec = SWEEP_S};

    if (a->by_id != NULL && !event_pending(a->sweep, EV_TIMEOUT, NULL))
        (void)event_add(a->sweep, &tv); /* without memory for it, the next archive_add sweeps */
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct archive *a = arg;

    (void)fd;
    (void)what;
    LOOP_WORK("timer", "archive of streams");
    sweep(a);
    arm(a);
}

int archive_new(struct event_base *base, const struct archive_config *config, struct archive **ret)
{
    struct archive *a = xnew(struct archive);

    if (config != NULL)
        a->config = *config;
    if (a->config.budget == 0)
        a->config.budget = BUDGET_DEFAULT;
    if (a->config.retain == 0)
        a->config.retain = RETAIN_DEFAULT;
    if (a->config.ended_max == 0)
        a->config.ended_max = ENDED_MAX_DEFAULT;
    if (a->config.ended_ms == 0)
        a->config.ended_ms = ENDED_MS_DEFAULT;
    a->sweep = event_new(base, -1, 0, on_sweep, a);
    if (a->sweep == NULL) {
        free(a);
        return -ENOMEM;
    }
    *ret = a;
    return 0;
}

void archive_free(struct archive *a)
{
    struct entry *e, *tmp;

    if (a == NULL)
        return;
    HASH_ITER(hh, a->by_id, e, tmp)
    {
        HASH_DEL(a->by_id, e);
        channel_unref(e->ch);
        free(e);
    }
    event_free(a->sweep);
    free(a);
}

void archive_add(struct archive *a, const char *id, struct channel *ch, bool verbatim)
{
    struct entry *e = xnew(struct entry);

    sweep(a);
    snprintf(e->id, sizeof(e->id), "%s", id);
    e->ch = channel_ref(ch);
    e->verbatim = verbatim;
    HASH_ADD_STR(a->by_id, id, e);
    DL_APPEND(a->open, e);
    a->n_open++;
    arm(a);
}

struct channel *archive_find(struct archive *a, const char *id, bool *ret_verbatim)
{
    struct entry *e = NULL;

    HASH_FIND_STR(a->by_id, id, e);
    if (e == NULL)
        return NULL;
    *ret_verbatim = e->verbatim;
    return e->ch;
}

size_t archive_retain(const struct archive *a)
{
    size_t share = a->config.budget / (a->n_open + 1);

    return MAX(MIN(share, a->config.retain), (size_t)RETAIN_MIN);
}
