#include "execd/stream/channel.h"

#include <stdio.h>
#include <string.h>

#include "execd/stream/channel_priv.h"
#include "proto/base/clock.h"

void channel_attach(struct channel_reader *r, struct channel *ch, uint64_t from,
                    void (*on_ready)(void *), void *arg)
{
    uint64_t next = from == 0 ? 1 : MIN(from, ch->next_seq);

    *r = (struct channel_reader){.channel = channel_ref(ch),
                                 .next = next,
                                 .on_ready = on_ready,
                                 .arg = arg,
                                 .moved_ms = clock_monotonic_ms(),
                                 .passed =
                                     next == ch->next_seq ? ch->appended : ch->appended - ch->held};
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
    if (ch->on_room != NULL)
        channel_post(ch);
    channel_unref(ch);
}

/* The gap between what the reader wants and what is left, as an entry of its own. */
static bool peek_gap(struct channel_reader *r, struct channel_entry *ret)
{
    const struct channel *ch = r->channel;
    uint64_t first = ch->head != NULL ? ch->head->first_seq : ch->next_seq;

    if (r->next >= first)
        return false;
    int n = snprintf(r->gap, sizeof(r->gap), "{\"from\":%llu,\"to\":%llu}",
                     (unsigned long long)r->next, (unsigned long long)(first - 1));
    *ret = (struct channel_entry){.seq = first - 1,
                                  .wall_ms = clock_wall_ms(),
                                  .type = EVENT_GAP,
                                  .data = r->gap,
                                  .len = (size_t)n};
    return true;
}

/* Puts the reader onto its segment; `passed` then counts everything before the entry it wants. */
static bool seek(struct channel_reader *r)
{
    struct channel *ch = r->channel;
    uint64_t passed = ch->appended - ch->held;
    struct segment *s = ch->head;

    for (; s != NULL && s->next != NULL && s->next->first_seq <= r->next; s = s->next)
        passed += s->used;
    if (s == NULL)
        return false;
    r->segment = s;
    r->offset = 0;
    r->passed = passed;
    while (r->offset < s->used) {
        struct header h;
        memcpy(&h, s->data + r->offset, sizeof(h));
        if (h.seq >= r->next)
            break;
        r->offset += sizeof(h) + padded(h.len);
        r->passed += sizeof(h) + padded(h.len);
    }
    return true;
}

bool channel_peek(struct channel_reader *r, struct channel_entry *ret)
{
    struct header h;

    if (r->channel == NULL)
        return false;
    if (r->segment == NULL && peek_gap(r, ret))
        return true;
    if (r->next >= r->channel->next_seq) {
        r->moved_ms = clock_monotonic_ms(); /* nothing to read is not a stall */
        return false;
    }
    if (r->segment == NULL && !seek(r))
        return false;
    if (r->offset == r->segment->used) {
        r->segment = r->segment->next;
        r->offset = 0;
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
    struct channel_entry entry;
    struct header h;

    r->moved_ms = clock_monotonic_ms();
    if (r->segment == NULL && peek_gap(r, &entry)) {
        r->next = entry.seq + 1;
        return;
    }
    memcpy(&h, r->segment->data + r->offset, sizeof(h));
    size_t size = sizeof(h) + padded(h.len);
    r->offset += size;
    r->passed += size;
    r->next = h.seq + 1;
    if (r->offset == r->segment->used && r->segment->next != NULL) {
        r->segment = r->segment->next;
        r->offset = 0;
        channel_evict(ch);
    }
    if (ch->on_room != NULL && channel_has_room(ch))
        channel_post(ch);
}

void channel_touch(struct channel_reader *r)
{
    r->moved_ms = clock_monotonic_ms();
}

bool channel_at_end(const struct channel_reader *r)
{
    return r->channel != NULL && r->channel->closed && r->next >= r->channel->next_seq;
}
