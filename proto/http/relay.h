/*
 * A relay: forwards one request to a backend over TCP or a Unix socket and streams both ways.
 *
 * The request is written anew from its parsed form (never copied), so framing tricks cannot pass; hop-by-hop
 * fields and those named by Connection are dropped, Content-Length or chunking is regenerated, repeated fields
 * stay apart, trailers that the backend announces pass. Nothing is buffered beyond the watermarks; a slow side slows the other. `Upgrade: websocket`
 * is passed on and, after 101, both sides become a byte tunnel with back-pressure. The backend is treated as
 * hostile: head ≤ 64 KiB, 1xx other than 100/101 skipped (≤ 8), framing checked strictly.
 * Connections are kept for further requests (upstream_pool.h) where the backend lets them.
 * The route must be BODY_STREAMED. Thread rule: loop thread only.
 * Source: RFC 9110 section 7.6, contracts/server.md 1.11, v1.1.md 2.8.
 */
#pragma once

#include "proto/http/req.h"

struct relay_target {
    const char *unix_path; /* NULL: TCP */
    const char *address;   /* IPv4/IPv6 literal */
    uint16_t port;
    int fd; /* > 0: a connected socket, used instead; taken in every case */
};

struct relay_options {
    const char *target; /* path and query to send, starts with '/' ; copied */
    const char *const
        *drop; /* names of further request fields to drop, NULL-terminated; may be NULL */
    const char *const (
        *add)[2]; /* name/value pairs to set (replacing the client's), closed by {NULL, NULL} */
    const char *
        location_prefix; /* root-relative Location answers are put below this; NULL = as they are */
    int connect_ms;      /* 5 s when 0 */
    int first_byte_ms;   /* to the response head; 0 = none (long polls are legal) */
    int idle_ms;         /* no byte in either direction; 0 = none */
    void (*on_close)(
        void *arg); /* the request is over, the backend's connection closed; may be NULL */
    void *on_close_arg;
    bool forwarded; /* strip and rebuild X-Forwarded-* / Forwarded / X-Real-IP */
};

/* Answers the request in every case: the backend's response, or BACKEND_* in the envelope (for a
 * tunnel too many ERR_OVERLOADED, as for any WebSocket). Returns H_WAIT. */
enum http_result relay_start(struct http_req *req, const struct relay_target *target,
                             const struct relay_options *options);
