/*
 * A Jupyter message that is kept for a client of the gateway. Its parts lie in one block of memory, which all clients
 * that are to see it share.
 *
 * Copies of a kernel's messages are cleaned (frame_clean), so that every one can be framed. Messages of our own speak
 * for a kernel that cannot: they have the shape that a kernel's would have. The owner frees its own.
 * Thread rule: loop thread only.
 */
#pragma once

#include <sys/queue.h>

#include "execd/gateway/frame.h"

struct message_body; /* counted references */

struct message {
    TAILQ_ENTRY(message) link; /* for the owner's list */
    enum kernel_channel channel;
    char id[JMSG_ID_MAX], type[JMSG_TYPE_MAX];
    char parent_id[JMSG_ID_MAX]; /* of the message that caused it; "" = none, or of no interest */
    struct message_body *body;   /* owned with others */
    struct jmsg_parts parts;     /* into the body */
    size_t size;                 /* of both */
    uint64_t seq;                /* given by the outbox */
    size_t wire_size;            /* once sent: bytes on the wire */
};
TAILQ_HEAD(message_list, message);

/* -EBADMSG: a part is no JSON object; -ENOMEM. */
int message_copy(enum kernel_channel channel, const struct jmsg *msg,
                 struct message **ret_message) must_check;

/* A client's, to be sent later: NULL: no memory. message_frame gives it back as a frame that borrows from it. */
struct message *message_keep(const struct frame *frame);
void message_frame(const struct message *m, struct frame *ret_frame);

/* A message of ours that answers `parent` (a header, empty = none). Takes content. NULL: no memory. */
struct message *message_make(enum kernel_channel channel, const char *type, struct slice parent,
                             json_t *content);

struct message *message_status(struct slice parent, const char *state);
struct message *message_stderr(struct slice parent, const char *text);
/* Why a request has no better end; last_words: what a dead kernel wrote last, or NULL. All of it valid UTF-8. */
struct message_fault {
    const char *ename, *evalue, *last_words;
};
/* The iopub message "error", and the reply of that status to a request of the given type. */
struct message *message_error(struct slice parent, const struct message_fault *fault);
struct message *message_error_reply(enum kernel_channel channel, const char *request_type,
                                    struct slice parent, const struct message_fault *fault);

/* The same for another client, in no list. NULL: no memory. */
struct message *message_share(const struct message *m);

void message_free(struct message *m); /* NULL is fine */

/* What all messages take that wait for clients, a shared body once. */
size_t message_bytes(void);

/* Is it a `status` message with this state? */
bool message_has_state(const struct message *m, const char *state);
