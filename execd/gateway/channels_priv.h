/*
 * What the files of channels share: the list of sessions (channels.c) and what one does (channels_session.c).
 *
 * Private to execd/gateway. Thread rule: loop thread only.
 */
#pragma once

#include <event2/event.h>

#include "execd/code/clients.h"
#include "execd/gateway/channels.h"
#include "execd/gateway/outbox.h"
#include "execd/gateway/requests.h"

#define CHANNELS_RECENT 32 /* ids of messages that are remembered */

struct channels_session {
    TAILQ_ENTRY(channels_session) link;
    struct channels *channels;      /* borrowed */
    struct code_context *ctx;       /* borrowed: it ends the session before it goes */
    struct code_client *client;     /* owned */
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
    size_t bytes; /* of the outbox, as counted in channels */
    int64_t hold_start_ms;
    int64_t hold_end_ms, away_end_ms, retry_ms, armed_ms; /* INT64_MAX: not set */
    struct event *timer;                                  /* owned */
    char recent[CHANNELS_RECENT][JMSG_ID_MAX];            /* a ring */
    size_t next_recent;
};
TAILQ_HEAD(session_list, channels_session);

struct channels {
    struct event_base *base; /* borrowed */
    struct session_list sessions;
    size_t bytes; /* that wait in all outboxes */
};

/* channels.c */
unsigned channels_n_connected(const struct channels *c, const struct code_context *ctx);
bool channels_is_held(const struct channels *c,
                      const struct code_context *ctx); /* by one of them */
void session_free(struct channels_session *s);
void session_end(struct channels_session *s, enum channels_end why); /* tells, then frees */

/* channels_session.c */
extern const struct code_client_ops session_client_ops;
void session_deliver(void *arg, struct message *m);
/* The first words to a connection: how the kernel is, unless it is well. */
void session_greet(struct channels_session *s);
void session_release(struct channels_session *s); /* the kernel is not held any more */
/* After anything that may have changed what is to be sent, held or waited for. */
void session_settle(struct channels_session *s);
void session_on_timer(evutil_socket_t fd, short what, void *arg);
