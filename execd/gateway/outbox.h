/*
 * What a client of the gateway is to see: messages in order, from "not yet sent" to "no longer needed".
 *
 *   [kept ... kept] [unsent ... unsent]
 *    └ for a client that comes back       └ outbox_peek, outbox_sent
 *
 * Every message has a sequence number, from 1 on, growing by one. Bounded in bytes, by these rules:
 *   while a client is there   stream outputs beyond `stream_max` and any output beyond `output_max` are left out, and a
 *                             stderr message in their place says how much; statuses, errors and replies always pass,
 *                             and above `hard_max` the client is too slow to be served (outbox_is_too_full)
 *   while it is away          the oldest messages beyond `away_max` are dropped, and the client is told when it is back
 *   what was sent             is kept up to `keep_max`, if the client can come back at all
 * Pure. Thread rule: loop thread only. Source: contracts/jupyter.md 2.7.
 */
#pragma once

#include "execd/gateway/message.h"

struct outbox_limits {
    size_t stream_max, output_max, hard_max, away_max, keep_max; /* bytes */
};

struct outbox {
    struct message_list list;
    struct message *unsent; /* the first one; NULL: all are sent */
    struct outbox_limits limits;
    size_t unsent_bytes, kept_bytes;
    uint64_t next_seq;
    bool away;
    /* left out since the last message that passed */
    uint64_t n_left_out, left_out_bytes;
    struct strbuf left_out_parent; /* header that caused the last of them; owned */
    uint64_t n_lost;               /* dropped while away and not yet told */
};

void outbox_init(struct outbox *o, const struct outbox_limits *limits);
void outbox_done(struct outbox *o);

void outbox_put(struct outbox *o, struct message *m); /* takes m */
bool outbox_is_too_full(const struct outbox *o);

struct message *outbox_peek(const struct outbox *o); /* borrowed; NULL: nothing to send */
/* The peeked one went out as so many bytes. */
void outbox_sent(struct outbox *o, size_t wire_size);

/* The client is gone; the last `undelivered` bytes that were sent have not reached it and are unsent again. */
void outbox_leave(struct outbox *o, size_t undelivered);
/* It is back and goes on behind what was sent, or behind last_seq (NULL: not given). */
void outbox_return(struct outbox *o, const uint64_t *last_seq);
