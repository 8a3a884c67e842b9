/*
 * One request, as its handler sees it.
 *
 * Valid from the call of the handler until the response is complete or the connection is gone; whoever
 * returned H_WAIT or H_STREAM learns of the end through http_req_on_close. All strings live in the request's
 * arena. Header values never hold CR, LF or NUL. Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/mem.h"
#include "proto/http/route.h"

struct event_base;
struct bufferevent;
struct evbuffer;

const char *http_req_method(const struct http_req *req);
bool http_req_is_head(const struct http_req *req);
const char *http_req_raw_path(const struct http_req *req);  /* as sent, without query */
const char *http_req_raw_query(const struct http_req *req); /* without '?', "" if none */
struct arena *http_req_arena(struct http_req *req);
struct event_base *http_req_base(struct http_req *req);
const char *http_req_peer(const struct http_req *req); /* "127.0.0.1:4711" or "unix" */

/* What http_server_listen_tagged was given for the listener that took the connection, else 0. */
unsigned http_req_listener_tag(const struct http_req *req);

/* Path parameter of the matched row; NULL if the pattern has none of that name. */
const char *http_req_param(const struct http_req *req, const char *name);

/* The matched row; NULL when there is none. */
const struct route *http_req_route(const struct http_req *req);

/* i-th value of a query key, decoded once ('+' is a blank); NULL when there are fewer. At most 1,000 pairs
 * are looked at. A query with an undecodable pair is refused before any handler runs; routes that end in "*name" are
 * the exception: there such a pair counts as absent until the handler asks for the check. */
const char *http_req_query(struct http_req *req, const char *key, size_t i);
int http_req_query_check(struct http_req *req, struct err *err) must_check;

/* First field of that name (case-insensitive), NULL if absent. */
const char *http_req_header(const struct http_req *req, const char *name);
size_t http_req_header_count(const struct http_req *req, const char *name);

/* The collected body (BODY_COLLECTED): valid as long as the request, or until it is dropped. A handler that streams for
 * long drops it as soon as it has copied what it needs: it may be megabytes. */
struct slice http_req_body(const struct http_req *req);
void http_req_drop_body(struct http_req *req);

/* Reads a streamed body (BODY_STREAMED). on_data sees each run once, in order, and returns 0 or -errno with err
 * to refuse the rest. on_end runs once: err is NULL after the last byte, else the body broke off (refused by
 * on_data, peer gone, bad chunk, too slow, too large); an error that on_end leaves unanswered is answered by the
 * connection, which then closes. Neither runs after the response has ended. 100-continue is sent here. A pause
 * takes effect behind the run being delivered; the minimum rate does not count while paused. */
struct http_body_ops {
    int (*on_data)(void *arg, const char *p, size_t n, struct err *err);
    void (*on_end)(void *arg, const struct err *err);
};
void http_req_read_body(struct http_req *req, const struct http_body_ops *ops, void *arg);
void http_req_pause_body(struct http_req *req); /* stop reading from the peer */
void http_req_resume_body(struct http_req *req);

/* Called exactly once when the request ends for whatever reason; later calls replace the callback. While a
 * handler waits or streams, a FIN of the peer ends the request too, unless it came within 250 ms of the
 * request's last byte: that is a half-close, and such a client still gets its answer. */
void http_req_on_close(struct http_req *req, void (*on_close)(void *arg), void *arg);

/* For WebSocket and tunnels: detaches the connection after its head was read. The caller owns the bufferevent
 * (callbacks cleared, unread bytes in its input buffer); the request is over: on_close runs. */
struct bufferevent *http_req_hijack(struct http_req *req);
