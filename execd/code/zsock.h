/*
 * ZeroMQ sockets on the event loop: the only place that knows libzmq.
 *
 * A zsock delivers whole multipart messages to one callback and takes whole ones to send. libzmq's descriptor
 * is edge-triggered: it tells only that something may have changed, and any call on the socket may swallow that
 * signal. So a socket is drained until it has nothing, and its state is looked at again after every send.
 * Incoming messages are never held back here unless receive_max says so (a PUB drops for a slow subscriber,
 * silently): the receiver keeps its own bounded store, and on_backlog tells when more arrives than it can take, so that it stops the sender. A message over `message_max` costs the peer its connection (a watched one is made again), a
 * message of more than ZMSG_FRAMES_MAX frames comes without the others and says so (zmsg_is_cut).
 * The library's threads start with the first socket. Thread rule: loop thread only. Source: zmq_getsockopt(3)
 * ZMQ_FD and ZMQ_EVENTS, zmq_socket_monitor(3); contracts/jupyter.md 1.2, 1.3.
 */
#pragma once

#include "proto/base/err.h"

struct event_base;
struct zcontext;
struct zsock;
struct zmsg;

/* Widgets send a buffer per column or trace: some hundreds are real. 32 KiB of bookkeeping while one arrives. */
#define ZMSG_FRAMES_MAX 512

enum zsock_kind { ZSOCK_DEALER, ZSOCK_SUB };

struct zsock_options {
    enum zsock_kind kind;
    const char
        *address; /* "ipc:///absolute/path"; connected to at once and again whenever it breaks */
    struct slice identity; /* DEALER; empty = chosen by the library */
    int receive_max;       /* SUB: messages that wait here before the peer has to; 0 = any number */
    size_t message_max;    /* bytes of one frame and of all frames of a message */
    bool watch_link;       /* call on_link, mend breaks; costs three descriptors */
};

/* Callbacks run from the loop only. on_message owns msg. on_link tells that the connection came up or went
 * down; on the way down every message that arrived before has been delivered. Each may close the socket. */
struct zsock_ops {
    void (*on_message)(void *arg, struct zmsg *msg);
    void (*on_link)(void *arg, bool up);
    void (*on_backlog)(void *arg, bool behind); /* may be NULL */
};

struct zcontext *zcontext_new(struct event_base *base);
void zcontext_free(
    struct zcontext *context); /* after all its sockets; ends the library's threads */

int zsock_open(struct zcontext *context, const struct zsock_options *options,
               const struct zsock_ops *ops, void *arg, struct zsock **ret_socket,
               struct err *err) must_check;
void zsock_close(struct zsock *socket); /* NULL is fine; unsent messages are dropped */

/* Copies the frames into one message. -EAGAIN when the peer takes nothing and the queue is full. */
int zsock_send(struct zsock *socket, const struct slice *frames, size_t n) must_check;
/* Delivers what has arrived by now, without waiting for the loop. */
void zsock_drain(struct zsock *socket);

size_t zmsg_count(const struct zmsg *msg);
struct slice zmsg_frame(const struct zmsg *msg, size_t i); /* borrowed from msg */
bool zmsg_is_cut(const struct zmsg *msg);                  /* there were more frames */
size_t zmsg_size(const struct zmsg *msg);                  /* bytes of all frames */
void zmsg_free(struct zmsg *msg);                          /* NULL is fine */
