/*
 * A channel: one bounded, append-only log of events with sequence numbers, followed by many readers.
 *
 * One writer (a pump, a kernel run) appends; each reader has its own position and pace. Entries hold raw bytes:
 * for STDOUT and STDERR what the process wrote, as read; for other types a JSON fragment, the value of the
 * row's key (events.def). Line splitting and encoding happen in the sinks, so that one log serves every framing.
 *
 *   retain   bytes kept for late readers (resume)
 *   head     how many of them are the very first ones; what is dropped comes from the middle
 *   window   bytes that an attached reader may lag behind before the writer must wait
 *   lossy    the writer never waits for a reader; one that falls behind `retain` gets a GAP instead
 *
 * Without readers the writer never waits: output beyond `retain` is dropped and a late reader gets a GAP event that
 * says how much. With readers the writer waits for the slowest one (channel_has_room false) until that reader has
 * not advanced for stall_ms; then the reader is cut off (on_ready with reader->cut set) and the writer goes on.
 * Nobody else loses data.
 *
 * Sequence numbers start at 1 and are contiguous. The log is closed by its terminal event: exactly one, appended
 * last; appending after it is a programmer error. Reference-counted. Callbacks are posted, never called from
 * inside channel_append. Thread rule: loop thread only.
 */
#pragma once

#include "proto/api/events.h"
#include "proto/base/err.h"

struct event_base;
struct channel;
struct segment;

struct channel_limits {
    size_t retain; /* default 1 MiB */
    size_t head;   /* default an eighth of it */
    size_t window; /* default 1 MiB */
    int stall_ms;  /* default 60,000 */
    bool lossy;
};

struct channel_entry {
    uint64_t seq;
    uint64_t at; /* output: bytes of the same stream before this entry, since the beginning */
    int64_t wall_ms;
    enum event_type type;
    const char *data; /* valid until the reader advances or the loop runs again */
    size_t len;
    uint64_t until[2]; /* GAP: how many bytes of stdout and stderr lie before what follows */
};

struct channel *channel_new(struct event_base *base, const struct channel_limits *limits);
struct channel *channel_ref(struct channel *ch);
void channel_unref(struct channel *ch); /* NULL is fine */

/* Copies the bytes. Zero-length output is ignored. */
void channel_append(struct channel *ch, enum event_type type, const void *data, size_t len);
/* {"ename":..., "evalue":..., "traceback":[...]} as terminal ERROR; traceback NULL-terminated or NULL. */
void channel_append_error(struct channel *ch, const char *ename, const char *evalue,
                          const char *const *traceback);
void channel_append_number(struct channel *ch, enum event_type type, int64_t value);
void channel_append_text(struct channel *ch, enum event_type type,
                         const char *text); /* as a JSON string */
bool channel_is_closed(const struct channel *ch);

/* The writer asks before it reads more from its source; when false, on_room is posted once there is room. */
bool channel_has_room(const struct channel *ch);
void channel_on_room(struct channel *ch, void (*on_room)(void *arg), void *arg);

/* While the writer waits in a queue: how many are before it. Readers may be told; it is no entry of the log. */
void channel_set_ahead(struct channel *ch, unsigned n);
unsigned channel_ahead(const struct channel *ch);

struct channel_stats {
    uint64_t first_seq, last_seq; /* retained range; first > last when empty */
    uint64_t bytes_total, bytes_dropped, bytes_held;
    unsigned readers;
};
void channel_get_stats(const struct channel *ch, struct channel_stats *ret_stats);

/* A reader; embedded in its owner. */
struct channel_reader {
    struct channel *channel; /* ref; NULL while detached */
    uint64_t next;           /* sequence number it wants next */
    bool cut;                /* it was too slow and has been detached from flow control */
    bool ready_posted;
    void (*on_ready)(void *arg); /* something new, the end, or cut */
    void *arg;
    struct channel_reader *link_next, **link_prev; /* in the channel's list */
    int64_t moved_ms;        /* loop_clock_ms: when it last advanced or had nothing to read */
    struct segment *segment; /* borrowed: where `next` lies; NULL until first read */
    size_t offset;           /* of `next` in segment */
    uint64_t bytes[2];       /* of stdout and stderr before `next` */
    char gap[128];           /* JSON fragment of the GAP entry */
};

/* Starts with everything retained, or only with what comes. on_ready is posted at once if there is something. */
enum channel_start { CHANNEL_FROM_START, CHANNEL_FROM_NOW };
void channel_attach(struct channel_reader *r, struct channel *ch, enum channel_start start,
                    void (*on_ready)(void *), void *arg);
void channel_detach(struct channel_reader *r); /* legal on a zeroed struct */

/* The next entry without advancing; false if there is none yet. Where entries were evicted before the reader came,
 * one GAP entry is delivered: data = {"from":seq,"to":seq,"stdout":bytes,"stderr":bytes} as its JSON fragment. */
bool channel_peek(struct channel_reader *r, struct channel_entry *ret_entry);
void channel_advance(struct channel_reader *r);
/* The reader still makes progress with what it took: its time to be cut starts anew. */
void channel_touch(struct channel_reader *r);
/* Everything was read and the log is closed. */
bool channel_at_end(const struct channel_reader *r);
