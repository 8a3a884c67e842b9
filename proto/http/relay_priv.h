/*
 * One relay, as relay.c (life, the request), relay_backend.c (the connection) and relay_answer.c (the response) share it.
 *
 * Two byte streams with one state: what the client still sends goes to the backend's output, what the backend
 * answers goes to the response. Each side is paused while the other's output is above its high watermark and
 * resumed below the low one, so a relay holds at most two buffers and two watermarks of bytes.
 *
 * The relay lives from relay_start until the request ends (on_close), however it ends: that is the only place
 * where it is freed, and it never runs below one of its own callbacks. Loop thread only.
 */
#pragma once

#include "proto/http/conn_priv.h"
#include "proto/http/relay.h"
#include "proto/http/reply.h"

#define RELAY_UP_LOW 65536
#define RELAY_REPLY_HEAD_MAX 65536

struct relay {
    struct http_req *req;   /* borrowed; valid until on_close */
    struct bufferevent *up; /* owned; NULL once the backend is done or gone */
    struct event *timer;    /* owned */
    struct reply reply;
    struct relay_target target; /* strings owned */
    char *head;                 /* owned: the request's head, to be sent again; NULL = never */
    size_t head_len;
    char *location_prefix; /* owned; NULL = none */
    void (*on_close)(void *arg);
    void *on_close_arg;
    int connect_ms, first_byte_ms, idle_ms;
    int64_t since_ms; /* of the phase: connecting or waiting for the head */
    int64_t moved_ms; /* last byte either way */
    unsigned interim; /* 1xx heads seen */
    bool given;       /* the connection came with the target: it serves this request and no other */
    bool connected, upgrade, answered, over;
    bool up_eof, up_deaf; /* the backend has sent its FIN; reads no more of the request */
    bool has_body, chunked_body, body_paused, body_sent;
};

/* relay.c: the end, which relay_fail brings about by answering an error, or by cutting a response that has begun: it is
 * never ended as if it were whole. */
void relay_close_backend(struct relay *r);
void relay_fail(struct relay *r, const struct err *err);
void relay_fail_text(struct relay *r, int code, int errnum, const char *text);
extern const struct http_body_ops
    relay_body_ops; /* the request's body, on its way to the backend */

/* relay_answer.c: moves what the backend has sent as far as the client takes it. */
void relay_pump(struct relay *r);

/* relay_backend.c */
int relay_open_backend(struct relay *r, struct err *err) must_check;
/* A connection that waits in the pool, if the request may go out on one. */
bool relay_reuse_backend(struct relay *r);
/* Keeps a copy of what a reused connection may lose. */
void relay_keep_head(struct relay *r, struct evbuffer *head);
void relay_connected(struct relay *r);
void relay_on_timer(evutil_socket_t fd, short what, void *arg);
