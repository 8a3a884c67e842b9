/* What the messages for all clients may cost, and that their memory goes back when they have gone. */
#include <errno.h>

#include "execd/code/memory.h"
#include "execd/gateway/channels_priv.h"
#include "proto/base/mem.h"

/* Of the sandbox's memory, messages may take so much. */
#define BYTES_MAX (64u << 20)
#define BYTES_MIN (8u << 20)
#define MEMORY_SHARE 8
/* Who lags behind by less than this share of it is not the one to go. */
#define SLOW_SHARE 256
/* Freed in the midst of the heap, so much is worth a look, when all has become quiet. */
#define TRIM_MIN (2u << 20)
#define TRIM_MS 500

static void on_trim(evutil_socket_t fd, short what, void *arg)
{
    struct channels *c = arg;

    (void)fd;
    (void)what;
    c->bytes_peak = message_bytes();
    mem_trim();
}

int channels_memory_init(struct channels *c)
{
    uint64_t limit = memory_limit();
    uint64_t share = limit > 0 ? limit / MEMORY_SHARE : BYTES_MAX;

    c->bytes_max = (size_t)MIN(MAX(share, (uint64_t)BYTES_MIN), (uint64_t)BYTES_MAX);
    c->trim = evtimer_new(c->base, on_trim, c);
    return c->trim != NULL ? 0 : -ENOMEM;
}

struct outbox_limits channels_limits(const struct channels *c)
{
    return (struct outbox_limits){
        .stream_max = c->bytes_max / 8 * 6,
        .output_max = c->bytes_max / 8 * 7,
        .hard_max = c->bytes_max,
        .away_max = 2u << 20,
        .keep_max = 1u << 20,
    };
}

static bool is_one_ending(const struct channels *c)
{
    const struct channels_client *client;

    TAILQ_FOREACH(client, &c->clients, link)
    if (client->is_ending)
        return true;
    return false;
}

static struct channels_client *slowest(const struct channels *c)
{
    struct channels_client *found = NULL, *client;

    TAILQ_FOREACH(client, &c->clients, link)
    if (!client->is_ending &&
        (found == NULL || client->outbox.unsent_bytes > found->outbox.unsent_bytes))
        found = client;
    return found;
}

/* One at a time, for its memory comes back with the next turn only; unless that does not help: those that hear the same
 * share it. */
void channels_memory_check(struct channels *c)
{
    size_t bytes = message_bytes();

    c->bytes_peak = MAX(c->bytes_peak, bytes);
    if (bytes <= c->bytes_max || (is_one_ending(c) && bytes <= c->bytes_max / 8 * 9))
        return;
    struct channels_client *client = slowest(c);
    if (client != NULL && client->outbox.unsent_bytes > c->bytes_max / SLOW_SHARE)
        channels_client_end_soon(client, CHANNELS_TOO_SLOW);
}

void channels_memory_freed(struct channels *c)
{
    struct timeval tv = {.tv_usec = TRIM_MS * 1000};

    if (c->bytes_peak >= TRIM_MIN && message_bytes() < c->bytes_peak / 4)
        (void)event_add(c->trim, &tv); /* fails only when memory is exhausted */
}
