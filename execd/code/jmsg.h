/*
 * Jupyter messages: frames to fields and back, signed with HMAC-SHA-256.
 *
 * Wire form: [identity...] "<IDS|MSG>" signature header parent_header metadata content [buffer...]. The signature
 * is the lower-case hex HMAC over the four JSON frames exactly as sent, compared in constant time. Parsing is
 * tolerant where kernels differ (no identities, null parent or content, invalid UTF-8 in content) and strict where
 * it protects: bounds on every part, header an object with msg_id and msg_type. Content is parsed only on demand.
 * Pure: no sockets, no clock but the date of new headers. Thread rule: any thread.
 * Source: contracts/jupyter.md 1.4, 1.5.
 */
#pragma once

#include <jansson.h>

#include "proto/base/err.h"

#define JMSG_PROTOCOL_VERSION "5.3" /* what kernels in the field report; nothing newer is used */
#define JMSG_ID_MAX 128             /* msg_id with its NUL; longer ones are refused */
#define JMSG_TYPE_MAX 64
#define JMSG_IDENTS_MAX 16
#define JMSG_HEADER_MAX (64u << 10) /* header and parent_header, bytes each */
#define JMSG_KEY_HEX 64             /* 256 bits; the hex text itself is the HMAC key */

/* One side of a conversation: what signs and numbers messages. */
struct jmsg_session {
    char key[JMSG_KEY_HEX + 1]; /* "" = unsigned */
    char id[33];
    uint64_t sent;
};
void jmsg_session_init(struct jmsg_session *session); /* fresh key, fresh id */

/* The parts of a message as they stand on the wire. */
struct jmsg_parts {
    struct slice header, parent, metadata, content; /* JSON texts */
    const struct slice *buffers;
    size_t n_buffers;
};

struct jmsg {
    char id[JMSG_ID_MAX];
    char type[JMSG_TYPE_MAX];
    char parent_id[JMSG_ID_MAX];     /* "" when the message has no cause */
    char parent_type[JMSG_TYPE_MAX]; /* its msg_type; "" when unknown */
    struct jmsg_parts parts;         /* borrowed from the frames, as sent */
    json_t *content;                 /* owned; NULL until jmsg_load */
};

/* Takes the frames apart and checks the signature. -EBADMSG with the reason. */
int jmsg_parse(const struct slice *frames, size_t n, const struct jmsg_session *session,
               struct jmsg *ret_msg, struct err *err) must_check;
/* Parses content into an object (null counts as {}); idempotent. -EBADMSG, -ENOMEM. */
int jmsg_load(struct jmsg *msg) must_check;
void jmsg_done(struct jmsg *msg);

/* A message to send. */
#define JMSG_OUT_FRAMES 6
struct jmsg_out {
    struct slice
        frames[JMSG_OUT_FRAMES]; /* delimiter, signature, header, parent, metadata, content */
    char id[JMSG_ID_MAX];
    char signature[65];
    char *header, *content; /* owned */
};
/* parent: header of the message that this one answers, empty = none. Does not take content. -ENOMEM. */
int jmsg_build(struct jmsg_session *session, const char *type, struct slice parent,
               const json_t *content, struct jmsg_out *ret_out) must_check;
void jmsg_out_done(struct jmsg_out *out);

#define JMSG_BUFFERS_MAX 505 /* so that all frames of a message fit a socket's limit of 512 */
/* Somebody else's parts, signed: fills JMSG_OUT_FRAMES + n_buffers of ret_frames, which borrow from parts and
 * signature. Returns how many. */
size_t jmsg_sign(const struct jmsg_session *session, const struct jmsg_parts *parts,
                 char ret_signature[65], struct slice *ret_frames);
