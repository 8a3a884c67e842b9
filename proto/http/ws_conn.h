/*
 * A WebSocket connection of the server: handshake, messages in and out, keepalive, closing.
 *
 * Knows nothing of what is talked about. Reading and writing are both bounded: whoever produces much
 * output pulls, in messages of at most 4 * out_high (ws_conn_wants_more, on_writable); answers to messages go on top of
 * that, and when 8 * out_high bytes wait to be sent, no more messages are read until the peer has taken them.
 *
 *   OPEN ──ws_conn_close──► CLOSING ──close frame, or close_ms──► gone
 *     ├──close frame──► LAST ──answer sent──► gone
 *     ├──broken protocol──► FAILED ──close frame sent, then FIN or close_ms──► gone
 *     └──peer gone, silent for dead_ms, stalled for stall_ms, ws_conn_abort──► gone
 *
 * "gone" calls on_close, exactly once, from the loop, and frees the connection behind it.
 * Compression is never negotiated. Thread rule: loop thread only. Source: RFC 6455.
 */
#pragma once

#include "proto/http/req.h"
#include "proto/http/ws_frame.h"

struct ws_conn;

struct ws_handlers {
    /* A whole text or binary message; data is borrowed for the call. Never after ws_conn_close. */
    void (*on_message)(void *arg, const struct ws_message *message);
    /* Output has fallen below a quarter of out_high. May be NULL. */
    void (*on_writable)(void *arg);
    /* The connection is gone: the code that the peer or we gave, or WS_CLOSE_ABNORMAL. */
    void (*on_close)(void *arg, uint16_t code);
};

/* Zeroed fields take the default. */
struct ws_options {
    size_t message_max; /* bytes of one message in: 1 MiB */
    size_t out_high;    /* unsent bytes above which nothing more is produced: 64 KiB */
    int ping_ms;        /* of silence before a ping: 30 s */
    int dead_ms;        /* of silence before the peer counts as dead: 60 s */
    int stall_ms;       /* without the peer taking a byte of waiting output: 60 s */
    int close_ms;       /* for the peer's close frame or FIN, while it takes nothing: 5 s */
    /* Subprotocols that we speak, best first, NULL-terminated; NULL = none. */
    const char *const *subprotocols;
};

/* Does the request ask for a WebSocket (Upgrade: websocket)? Nothing else about it is checked. */
bool ws_is_upgrade(const struct http_req *req);

/* Is the handshake sound? -EINVAL with ERR_BAD_REQUEST (400), or ERR_UPGRADE_REQUIRED (426) for another version than
 * 13, for which the header that names 13 is added to the answer. */
int ws_check_handshake(struct http_req *req, struct err *err) must_check;

/* May the page that the request comes from talk to us? True without an Origin field (no browser), when it is our
 * own origin (http or https and the Host field), and when `allowed` (NULL-terminated, may be NULL) names it or "*".
 * -EACCES with ERR_ORIGIN_NOT_ALLOWED (403). */
int ws_check_origin(const struct http_req *req, const char *const *allowed,
                    struct err *err) must_check;

/* The first of our subprotocols that the request offers, as the answer will name it; NULL when there is none. ours:
 * as in ws_options. */
const char *ws_subprotocol(const struct http_req *req, const char *const *ours);

/* Text behind `prefix` of the one offered subprotocol that starts with it; NULL when there is none or more than one.
 * In the request's arena. For credentials that a browser can give in no other way; such an entry is never chosen. */
const char *ws_offered_secret(struct http_req *req, const char *prefix);

/* Answers 101, unless as many WebSockets as connections are allowed are open (ERR_OVERLOADED). Only after
 * ws_check_handshake; the request is over, and the handler returns H_DONE. handlers and the strings in options are
 * borrowed for the life of the connection. After an error the request is still to be answered. */
int ws_conn_accept(struct http_req *req, const struct ws_options *options,
                   const struct ws_handlers *handlers, void *arg, struct ws_conn **ret_conn,
                   struct err *err) must_check;

/* Sends one message made of the parts in a row. Copies. Nothing happens unless OPEN. Bulk senders ask
 * ws_conn_wants_more first. */
void ws_conn_send(struct ws_conn *ws, enum ws_opcode opcode, const struct slice *parts, size_t n);
void ws_conn_send_text(struct ws_conn *ws, const char *text, size_t len);
bool ws_conn_wants_more(const struct ws_conn *ws); /* OPEN and below out_high */

/* Unsent bytes and what the kernel still holds for the peer: falls as long as the peer reads. */
size_t ws_conn_unread(const struct ws_conn *ws);

/* Unsent bytes and those of which it is not known that they have reached the peer's system. What a Unix socket has
 * taken has reached it. */
size_t ws_conn_undelivered(const struct ws_conn *ws);

/* Stops and resumes on_message; the peer is held back by TCP. */
void ws_conn_pause(struct ws_conn *ws, bool paused);

/* Sends a close frame behind what is queued; no more on_message or on_writable. reason: at most WS_REASON_MAX bytes. */
void ws_conn_close(struct ws_conn *ws, uint16_t code, const char *reason);
/* Cuts the connection; on_close follows from the loop. */
void ws_conn_abort(struct ws_conn *ws);
/* Cuts it and frees it at once, without on_close. Not from a callback of the same connection. */
void ws_conn_free(struct ws_conn *ws);
