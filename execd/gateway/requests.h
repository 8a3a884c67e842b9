/*
 * The requests of one client that are under way: every one ends, exactly once, in an order that all clients bear.
 *
 * Some clients stop reading at the reply, some at the idle status. The two travel on different sockets, so here they are
 * joined: first everything that a request puts out, then its reply, then its idle.
 *
 *   a reply waits for the idle behind the outputs   REQUESTS_OUTPUT_MS at most
 *   an idle waits for its reply                     REQUESTS_REPLY_MS, then an error stands in for it
 *   a reply whose idle does not come                REQUESTS_IDLE_MS, then an idle of ours follows
 *   no busy after 250 ms, 1 s, 4 s of an idle kernel    the owner is asked to wake it; after 6 s it has dropped the request
 *
 * What the kernel publishes behind an idle that waits is held back too (REQUESTS_BEHIND_MAX bytes), so that the order of
 * requests is kept. A second reply is dropped. When the kernel is gone every request ends by an error, its reply and its idle.
 * Only messages whose type ends in "_request" are followed; there is no answer to others.
 * Knows no sockets and no clock: the time is given. Thread rule: loop thread only.
 * Source: contracts/jupyter.md 1.8, 1.12, 3.9.
 */
#pragma once

#include "execd/gateway/message.h"

#define REQUESTS_OUTPUT_MS 100
#define REQUESTS_REPLY_MS 1000
#define REQUESTS_IDLE_MS 2000
#define REQUESTS_MAX 1024
#define REQUESTS_BEHIND_MAX (4u << 20)

struct request;

struct requests {
    TAILQ_HEAD(, request) list; /* oldest first */
    size_t n, n_waiting;        /* n_waiting: idles that wait for their reply */
    struct message_list behind; /* owned; published behind such an idle */
    size_t behind_bytes;
    /* Messages in the order in which the client is to see them; owned by the callee. */
    void (*deliver)(void *arg, struct message *m);
    void *arg;
};

void requests_init(struct requests *r, void (*deliver)(void *arg, struct message *m), void *arg);
void requests_done(struct requests *r);

bool requests_has_room(const struct requests *r);
bool requests_has(const struct requests *r, const char *id);
/* A message that was sent to the kernel. -ENOMEM: it is not followed. */
int requests_add(struct requests *r, const struct frame *frame, int64_t now_ms) must_check;
/* A message of the kernel: delivered now, later, or (an unexpected reply) never. Takes m. */
void requests_take(struct requests *r, struct message *m, int64_t now_ms);
/* Looks after what is late. kernel_idle: it is ready, works for nobody and is not held. Returns the time at which to be called
 * again, INT64_MAX for never; *ret_wake: the kernel seems to have missed a request. */
int64_t requests_tick(struct requests *r, int64_t now_ms, bool kernel_idle, bool *ret_wake);
/* The kernel is being held: nothing is late. */
void requests_postpone(struct requests *r, int64_t now_ms);
/* Header of the oldest one, on which the kernel most likely works; empty when there is none. */
struct slice requests_current(const struct requests *r);
/* Nothing more will come for any of them. */
void requests_fail_all(struct requests *r, const struct message_fault *fault);
/* The end of a request that was never sent. */
void requests_refuse(struct requests *r, const struct frame *frame,
                     const struct message_fault *fault);
