/*
 * Clients of the gateway on a kernel's channels: each outlives its connection.
 *
 * A client belongs to a kernel (a code context) and to the id that it gave (session_id). It hears what the
 * kernel publishes and the replies to what it sent, in an order that clients bear (requests.h), through a bounded
 * outbox (outbox.h). While a client lags behind the kernel is held back, as long as the client goes on reading; after that its own
 * outputs are left out, never another client's. While a client that gave an id is away its messages are kept, for
 * CHANNELS_AWAY_MS; a second connection with the same id takes the first one's place.
 * When the kernel dies or is restarted every request ends by an error, its reply and its idle; a status
 * tells of a death, and of a new kernel's start.
 * Knows no HTTP. Thread rule: loop thread only. Source: contracts/jupyter.md 2.7, 6, 7.
 */
#pragma once

#include "execd/code/context.h"
#include "execd/gateway/frame.h"
#include "execd/gateway/message.h"

struct event_base;
struct channels;
struct channels_client;

#define CHANNELS_ID_MAX 128 /* bytes of a session_id */
#define CHANNELS_AWAY_MAX 8 /* clients without a connection, per kernel: the oldest goes */
#define CHANNELS_AWAY_MS (5 * 60 * 1000)
/* A slow client holds the kernel while it takes so many bytes in each such time; one that is alone: any. What all of
 * them hold it and take less is bounded (execd/code/hold_budget.h): then only who has read is waited for. */
#define CHANNELS_HOLD_MS 2000
#define CHANNELS_PACE (256u << 10)

enum channels_end {
    CHANNELS_KERNEL_GONE, /* deleted; what is left is to be sent before closing */
    CHANNELS_KERNEL_DIED, /* of itself, and is no longer kept; as above */
    CHANNELS_REPLACED,    /* by a connection with the same id */
    CHANNELS_TOO_SLOW,
    CHANNELS_NO_MEMORY,
};

/* The connection. Callbacks may come from inside of functions of this module. */
struct channels_ops {
    void (*on_more)(void *arg);       /* channels_peek has something */
    void (*on_room)(void *arg);       /* after channels_send gave false: messages are taken again */
    size_t (*undelivered)(void *arg); /* bytes that were popped and have not reached the client */
    /* Last call; channels_peek and channels_pop may still be used inside of it. */
    void (*on_end)(void *arg, enum channels_end why);
};

struct channels_options {
    const char *session_id;   /* NULL or "": none, and nobody can come back to it */
    const uint64_t *last_seq; /* the client has seen the messages up to this one; may be NULL */
};

struct channels *channels_new(struct event_base *base); /* NULL: no memory */
void channels_free(struct channels *c); /* after the connections and before the contexts */

/* A new client, or the one of that id. -EINVAL: the id is too long; -EAGAIN: too many clients. ops is borrowed. */
int channels_attach(struct channels *c, struct code_context *ctx,
                    const struct channels_options *options, const struct channels_ops *ops,
                    void *arg, struct channels_client **ret_client, struct err *err) must_check;
/* The connection is gone: no callback any more. */
void channels_detach(struct channels_client *client);

/* Sends a client's message to the kernel, or answers it by an error when there is none. False: this one is kept, and no
 * other can be taken before on_room. */
bool channels_send(struct channels_client *client, struct frame *frame);

/* One is kept: the connection must wait for on_room, also one that has just taken the client over. */
bool channels_is_full(const struct channels_client *client);

/* The next message for the client; borrowed; NULL: nothing now. */
const struct message *channels_peek(const struct channels_client *client);
void channels_pop(struct channels_client *client, size_t wire_size);
