/*
 * What the files of channels share: the list of clients (channels.c), what one does (channels_client.c), and what all of
 * them cost (channels_memory.c).
 *
 * Private to execd/gateway. Thread rule: loop thread only.
 */
#pragma once

#include <event2/event.h>

#include "execd/code/clients.h"
#include "execd/gateway/channels.h"
#include "execd/gateway/fanout.h"
#include "execd/gateway/outbox.h"
#include "execd/gateway/requests.h"

#define CHANNELS_RECENT 32 /* ids of messages that are remembered */

struct channels_client {
    TAILQ_ENTRY(channels_client) link;
    struct channels *channels;      /* borrowed */
    struct code_context *ctx;       /* borrowed: it ends the client before it goes */
    struct code_client *code;       /* owned; what it is to the kernel */
    char id[CHANNELS_ID_MAX + 1];   /* "": nobody can come back */
    const struct channels_ops *ops; /* NULL: nobody is connected */
    void *arg;
    struct outbox outbox;
    struct requests requests;
    struct message *kept; /* owned; of the client, not yet sent */
    bool was_restarted;   /* and is not ready yet */
    bool holds, has_held; /* the kernel; has_held: in vain */
    size_t taken;         /* bytes by the client, since hold_start_ms */
    size_t shown;         /* bytes it has taken since it last held in vain, or connected */
    bool is_ending;       /* by the timer, for ... */
    enum channels_end ending;
    int64_t hold_start_ms;
    int64_t hold_end_ms, away_end_ms, retry_ms, armed_ms; /* INT64_MAX: not set */
    struct event *timer;                                  /* owned */
    char recent[CHANNELS_RECENT][JMSG_ID_MAX];            /* a ring */
    size_t next_recent;
};
TAILQ_HEAD(channels_client_list, channels_client);

struct channels {
    struct event_base *base; /* borrowed */
    struct channels_client_list clients;
    struct fanout fanout;
    size_t bytes_max;   /* that messages for all of them may take */
    size_t bytes_peak;  /* since the memory was last given back */
    struct event *trim; /* owned */
};

/* channels.c */
unsigned channels_n_connected(const struct channels *c, const struct code_context *ctx);
bool channels_is_held(const struct channels *c,
                      const struct code_context *ctx); /* by one of them */
void channels_client_free(struct channels_client *client);
void channels_client_end(struct channels_client *client,
                         enum channels_end why); /* tells, then frees */

/* channels_memory.c */
int channels_memory_init(struct channels *c) must_check; /* -ENOMEM */
struct outbox_limits channels_limits(const struct channels *c);
/* After messages have come: who lags behind most goes when all of them together keep too much. */
void channels_memory_check(struct channels *c);
void channels_memory_freed(struct channels *c); /* after some have gone */

/* channels_client.c */
extern const struct code_client_ops channels_client_ops;
/* Not here and now: callers may still hold it. */
void channels_client_end_soon(struct channels_client *client, enum channels_end why);
void channels_client_deliver(void *arg, struct message *m);
/* The first words to a connection: how the kernel is, unless it is well. */
void channels_client_greet(struct channels_client *client);
void channels_client_release(struct channels_client *client); /* the kernel is not held any more */
/* After anything that may have changed what is to be sent, held or waited for. */
void channels_client_settle(struct channels_client *client);
void channels_client_on_timer(evutil_socket_t fd, short what, void *arg);
