/*
 * What channel.c (the writer's side) and channel_reader.c share. Private to execd/stream.
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/stream/channel.h"

struct event;

/*
 * The log is a list of segments; an entry never spans two. The first segment is small, so that the many commands
 * with little output cost little; later ones are large, and an entry that does not fit gets one of its own.
 *
 * Everything is measured in bytes of the log since the beginning: `appended` for the writer, and for a reader the
 * place where it stands. A reader lags by what is held between the two; the writer waits while the slowest attached
 * reader lags by `window` or more. Segments that begin within the first `head` bytes stay; behind them the oldest
 * leaves as soon as more than `retain` bytes are held and no attached reader still needs it. So there is at most one
 * hole, and a reader that comes to it is told its size.
 */
struct segment {
    struct segment *next;
    uint64_t first_seq, end_seq; /* of its entries; end_seq is one beyond the last */
    uint64_t pos;                /* bytes of the log before it */
    uint64_t at[2];              /* bytes of stdout and stderr before it */
    size_t size, used;
    _Alignas(8) char data[];
};

struct header {
    uint64_t seq;
    uint64_t at;
    int64_t wall_ms;
    uint32_t len;
    uint32_t type;
};

struct channel {
    unsigned refs;
    struct event_base *base; /* borrowed */
    struct channel_limits limits;
    struct segment *head, *tail; /* owned */
    size_t held;                 /* bytes of all segments' used parts */
    uint64_t next_seq;
    uint64_t appended, bytes_dropped;
    uint64_t bytes[2]; /* of stdout and stderr */
    bool closed;
    unsigned ahead;                 /* before the writer, in a queue */
    struct channel_reader *readers; /* attached ones, linked through them */
    void (*on_room)(void *arg);     /* a writer that waits */
    void *room_arg;
    struct event *tick;  /* owned, made on first use: delivers what was posted */
    struct event *stall; /* owned, made on first use: looks for readers that hold the writer up */
};

/* An entry's data is padded, so that the next header is aligned. */
static inline size_t padded(size_t len)
{
    return (len + 7) & ~(size_t)7;
}

/* channel.c */
void channel_post(struct channel *ch); /* the tick: on_ready of posted readers, on_room */
void channel_post_reader(struct channel *ch, struct channel_reader *r);
void channel_evict(struct channel *ch);
void channel_trim(struct channel *ch);
