/*
 * An HTTP/1.1 server on a libevent base: listeners, connection cap, limits and deadlines, drain.
 *
 * One server per program; connections (conn.c) parse with llhttp in strict mode and call the rows of one
 * route table. Everything that a client can stretch has a bound: heads ≤ 32 KiB and ≤ 100 fields within
 * 10 s, bodies by route and by minimum rate, unread output ≤ 256 KiB per connection, connections by a cap
 * with a reserve that only serves AUTH_OPEN rows.
 * Thread rule: loop thread only. Source: RFC 9110, RFC 9112, hardening.md D, design.md decision 2.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/http/route.h"

struct event_base;
struct http_server;

struct http_limits {
    size_t head_max;     /* request line + fields, bytes (32 KiB) */
    unsigned fields_max; /* 100 */
    int head_deadline_ms; /* from the first byte of a request (or the accept) to its last head byte: 10 s */
    int idle_ms;          /* keep-alive without a request; above the SDKs' 30 s: 75 s */
    size_t
        body_rate_min; /* bytes per second averaged over 10 s windows while a body is awaited: 512 */
    size_t out_high;   /* producers stop above (256 KiB) */
    size_t out_low;    /* and go on below (64 KiB) */
    int write_stall_ms;     /* no byte read by the peer for this long closes the connection: 60 s */
    unsigned conns_max;     /* 4,096 */
    unsigned conns_reserve; /* of these kept for AUTH_OPEN rows: 16 */
};

struct http_server_config {
    const struct route *routes; /* borrowed, constant */
    size_t n_routes;
    void *app;                 /* handed to handlers and callbacks */
    struct http_limits limits; /* zeroed fields take the default */
    const char *json_type;     /* Content-Type of JSON answers: "application/json" */

    /* AUTH_REQUIRED rows and unknown routes: 0, or -errno with a filled err (its code gives the status).
     * NULL = everything is open. Runs after the head, before the body and before any 100-continue. */
    int (*authorize)(struct http_req *req, const struct route *route, void *app, struct err *err);
    /* A request may stand for another one on this server (a proxy path that names our own port): after its route was
     * looked for, with parameters, before credentials. 0 with *ret_path NULL: it is what it says. *ret_path (arena,
     * raw, starts with '/'): it is treated as if it had asked for that path from the beginning, credentials and body
     * rules too. -errno with err: refused, once the credential is right. May be NULL. */
    int (*rewrite)(struct http_req *req, void *app, const char **ret_path, struct err *err);
    /* Before the head of every response (errors too): a place for request ids and CORS. May be NULL. */
    void (*decorate)(struct http_req *req, void *app);
    /* Renders an error other than {"code","message"}; NULL = that envelope. Returns a new JSON object. */
    struct json_t *(*render_error)(struct http_req *req, const struct err *err, void *app);
};

int http_server_new(struct event_base *base, const struct http_server_config *config,
                    struct http_server **ret_server) must_check;
void http_server_free(struct http_server *server); /* closes everything at once */

/* "ADDR:PORT" (IPv4, or [IPv6] bound dual-stack, port 0 = any free one) or "unix:PATH" (mode 0600; a
 * stale socket file is replaced, a live one is refused). Never SO_REUSEPORT (hardening M14).
 * On success *ret_port is the bound TCP port, 0 for Unix sockets. */
int http_server_listen(struct http_server *server, const char *where, int *ret_port,
                       struct err *err) must_check;
/* The same; its requests tell the tag (http_req_listener_tag), those of other listeners 0. */
int http_server_listen_tagged(struct http_server *server, const char *where, unsigned tag,
                              int *ret_port, struct err *err) must_check;

/* One of our listeners has this TCP port. */
bool http_server_has_port(const struct http_server *server, uint16_t port);

/* Serves an already listening socket (taken on success). */
int http_server_listen_fd(struct http_server *server, int listen_fd, struct err *err) must_check;

/* Serves a socket that is connected already (taken in every case). on_gone runs (posted, once) when no connection is
 * left. -ENOMEM. */
int http_server_adopt(struct http_server *server, int fd, void (*on_gone)(void *),
                      void *arg) must_check;

/* Stops accepting, ends idle connections, answers each running request with Connection: close, and calls
 * on_drained (posted, once) when none is left or after grace_ms. */
void http_server_drain(struct http_server *server, int grace_ms, void (*on_drained)(void *),
                       void *arg);

struct http_server_stats {
    uint64_t accepted, requests, rejected; /* counters since start */
    unsigned open_conns, active_requests, open_streams;
};
void http_server_get_stats(const struct http_server *server, struct http_server_stats *ret_stats);
