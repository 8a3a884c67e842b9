#include "execd/stream/channel.h"

#include <stdio.h>
#include <string.h>

#include "execd/stream/channel_priv.h"
#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"

void channel_attach(struct channel_reader *r, struct channel *ch, enum channel_start start,
                    void (*on_ready)(void *), void *arg)
{
    *r = (struct channel_reader){.channel = channel_ref(ch),
                                 .next = 1,
                                 .on_ready = on_ready,
                                 .arg = arg,
                                 .moved_ms = loop_clock_ms()};
    if (start == CHANNEL_FROM_NOW) {
        r->next = ch->next_seq;
        memcpy(r->bytes, ch->bytes, sizeof(r->bytes));
    }
    r->link_next = ch->readers;
    r->link_prev = &ch->readers;
    if (ch->readers != NULL)
        ch->readers->link_prev = &r->link_next;
    ch->readers = r;
    channel_post_reader(ch, r);
}

void channel_detach(struct channel_reader *r)
{
    struct channel *ch = r->channel;

    if (ch == NULL)
        return;
    *r->link_prev = r->link_next;
    if (r->link_next != NULL)
        r->link_next->link_prev = r->link_prev;
    r->channel = NULL;
    r->ready_posted = false;
    channel_evict(ch);
    channel_trim(ch);
    if (ch->on_room != NULL)
        channel_post(ch);
    channel_unref(ch);
}

/* Puts the reader onto the entry that it wants, or onto the first one behind the hole. False: there is none yet. */
static bool settle(struct channel_reader *r)
{
    struct segment *s = r->segment;
    struct header h;

    if (r->next >= r->channel->next_seq)
        return false;
    if (s != NULL && r->offset < s->used)
        return true;
    if (s == NULL)
        s = r->channel->head;
    while (s->end_seq <= r->next)
        s = s->next;
    r->segment = s;
    r->offset = 0;
    for (;;) { /* a reader whose segment was dropped under it stands in the middle of none other */
        memcpy(&h, s->data + r->offset, sizeof(h));
        if (h.seq >= r->next)
            return true;
        r->offset += sizeof(h) + padded(h.len);
    }
}

/* The hole between what the reader wants and what is left, as an entry of its own. */
static void put_gap(struct channel_reader *r, struct channel_entry *ret)
{
    const struct segment *s = r->segment;
    int n = snprintf(
        r->gap, sizeof(r->gap), "{\"from\":%llu,\"to\":%llu,\"stdout\":%llu,\"stderr\":%llu}",
        (unsigned long long)r->next, (unsigned long long)(s->first_seq - 1),
        (unsigned long long)(s->at[0] - r->bytes[0]), (unsigned long long)(s->at[1] - r->bytes[1]));

    *ret = (struct channel_entry){.seq = s->first_seq - 1,
                                  .wall_ms = clock_wall_ms(),
                                  .type = EVENT_GAP,
                                  .data = r->gap,
                                  .len = (size_t)n,
                                  .until = {s->at[0], s->at[1]}};
}

bool channel_peek(struct channel_reader *r, struct channel_entry *ret)
{
    struct header h;

    if (r->channel == NULL)
        return false;
    if (!settle(r)) {
        r->moved_ms = loop_clock_ms(); /* nothing to read is not a stall */
        return false;
    }
    if (r->segment->first_seq > r->next) {
        put_gap(r, ret);
        return true;
    }
    memcpy(&h, r->segment->data + r->offset, sizeof(h));
    *ret = (struct channel_entry){.seq = h.seq,
                                  .at = h.at,
                                  .wall_ms = h.wall_ms,
                                  .type = (enum event_type)h.type,
                                  .data = r->segment->data + r->offset + sizeof(h),
                                  .len = h.len};
    return true;
}

void channel_advance(struct channel_reader *r)
{
    struct channel *ch = r->channel;
    struct header h;

    r->moved_ms = loop_clock_ms();
    if (!settle(r))
        return;
    if (r->segment->first_seq > r->next) {
        r->next = r->segment->first_seq;
        memcpy(r->bytes, r->segment->at, sizeof(r->bytes));
        return;
    }
    memcpy(&h, r->segment->data + r->offset, sizeof(h));
    r->offset += sizeof(h) + padded(h.len);
    r->next = h.seq + 1;
    if (h.type == EVENT_STDOUT || h.type == EVENT_STDERR)
        r->bytes[h.type == EVENT_STDERR] = h.at + h.len;
    if (r->offset == r->segment->used && r->segment->next != NULL)
        channel_evict(ch);
    if (ch->on_room != NULL && channel_has_room(ch))
        channel_post(ch);
}

void channel_touch(struct channel_reader *r)
{
    r->moved_ms = loop_clock_ms();
}

bool channel_at_end(const struct channel_reader *r)
{
    return r->channel != NULL && r->channel->closed && r->next >= r->channel->next_seq;
}
