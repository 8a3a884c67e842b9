/*
 * What a kernel says, made ready once for all clients that hear it: cleaned, and cut into pieces where it is too large
 * for some. With many clients that is most of the work, and of the memory.
 *
 * Keeps the last message until the loop turns. Thread rule: loop thread only.
 */
#pragma once

#include "execd/gateway/message.h"

struct event_base;
struct event;

struct fanout {
    struct message_list list;
    uint64_t serial; /* of what is in it; 0: nothing */
    int result;
    struct event *forget; /* owned */
};

int fanout_init(struct fanout *f, struct event_base *base) must_check; /* -ENOMEM */
void fanout_done(struct fanout *f);

/* The message of that serial (code_client_serial), in order, to be shared (message_share); borrowed until the next call or
 * the end of this turn. -EBADMSG: a part is no JSON object; -ENOMEM. */
int fanout_get(struct fanout *f, uint64_t serial, enum kernel_channel channel,
               const struct jmsg *msg, const struct message_list **ret_list) must_check;
