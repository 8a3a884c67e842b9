/*
 * One accepted connection and its one running request: what conn*.c, req.c, resp.c and server.c share.
 *
 * A connection reads one head, runs one handler, sends one answer, and only then looks at the next head;
 * pipelined bytes wait in the bufferevent below its read watermark. Everything that calls into a handler
 * (handler, on_data, on_end, proceed, stop, on_close) happens in conn_run(), which runs from the event loop
 * only; the functions of req.h and resp.h just record and conn_post() a run. So no handler is ever entered
 * while it is on the stack.
 *
 *   HEAD ──head complete──► COLLECT ──body read or dropped──► ACTIVE ──answer ended──► FINISH ─┬► HEAD
 *                └─────────streamed or no body───────────────►                                  └► LINGER ► freed
 *   a malformed head goes straight to FINISH with an error answer; a dead peer is freed from anywhere
 *
 * Output: the bufferevent's write side is disabled while its buffer is empty; conn_flush() writes to the
 * socket at once and enables it only for what the socket did not take. This saves two epoll_ctl calls and a
 * turn of the loop per answer. Behind a TLS bufferevent `direct` is false and the bufferevent writes alone.
 *
 * Memory of one connection: ≤ read watermark (64 KiB) in, ≤ out_high plus one producer step out, one head.
 */
#pragma once

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/chunked.h"
#include "proto/http/head.h"
#include "proto/http/head_scan.h"
#include "proto/http/req.h"
#include "proto/http/resp.h"
#include "proto/http/server.h"

#define CONN_READ_MAX 65536       /* bytes read ahead of what was consumed */
#define CONN_DISCARD_MAX 65536    /* of an unwanted body, to keep the connection */
#define CONN_LINGER_MS 2000       /* after our FIN: time for the peer to read the answer */
#define CONN_BODY_WINDOW_MS 10000 /* over which body_rate_min is averaged */
#define CONN_HALF_CLOSE_MS                                                                         \
    250                   /* a FIN this soon after the request is a half-close, later a goodbye */
#define CONN_STEPS_MAX 64 /* per run, before others get the loop */

enum conn_phase { CONN_HEAD, CONN_COLLECT, CONN_ACTIVE, CONN_FINISH, CONN_LINGER, CONN_PHASE_MAX };

struct query_pair {
    const char *key, *value; /* arena */
};

struct req_body {
    uint64_t max, got; /* decoded bytes: limit and count */
    int64_t left;      /* of a declared length */
    struct chunked chunked;
    bool done;            /* the last byte was consumed */
    bool continue_due;    /* the client waits for 100-continue */
    bool reading, paused; /* streamed: the handler asked for it */
    bool over;            /* streamed: on_end has run */
    struct http_body_ops ops;
    void *arg;
    char *data; /* owned; collected */
    size_t len, cap;
    uint64_t dropped; /* bytes skipped behind the answer */
    int64_t window_start_ms;
    uint64_t window_got;
};

struct req_resp {
    int status;
    bool begun, ended, decorated, type_given, keep_alive_given;
    bool stream, chunked, until_close, swallow;
    bool idle; /* the producer had nothing; waits for a wake */
    bool
        drain_first; /* the producer is asked again when all output has left, not at the low watermark */
    int64_t left;   /* declared bytes still to come; -1 = not declared */
    uint64_t bytes; /* body bytes handed over */
    struct http_producer producer;
    void *arg;
    struct strbuf fields; /* extra response fields, as bytes */
};

struct http_req {
    struct conn *conn; /* borrowed: embeds this */
    struct head head;  /* strings in conn->head_buf */
    struct route_match match;
    struct arena arena;
    struct query_pair *pairs; /* arena; NULL before the first lookup */
    size_t n_pairs;
    int query_error; /* of the first lookup: 0, -EINVAL or -ENOMEM */
    void (*on_close)(void *arg);
    void *on_close_arg;
    int64_t start_ns;
    bool active; /* begun, not yet finished */
    struct req_body body;
    struct req_resp resp;
};

struct conn {
    struct http_server *server; /* borrowed */
    TAILQ_ENTRY(conn) link;     /* in server->waiting (phase HEAD) or server->busy */
    struct bufferevent *bev;    /* owned; NULL after a hijack */
    int fd;                     /* of bev */
    struct event tick, timer;
    int64_t timer_at_ms; /* when the timer fires; 0 = not armed */
    enum conn_phase phase;
    bool direct, local; /* plain socket; Unix socket */
    bool only_open;     /* lives in the reserve: serves AUTH_OPEN rows only */
    unsigned tag;       /* of its listener */
    bool running, eof, broken, closing, waiting_list;
    bool full; /* nothing is read until something was consumed */
    size_t input_max;
    struct head_scan scan;
    char *head_buf; /* owned */
    size_t head_cap;
    int64_t since_ms;        /* HEAD: accept, first byte, or the idle start; LINGER: its start */
    bool head_begun;         /* HEAD: since_ms is the accept or the first byte */
    size_t last_read;        /* bytes of the last read, as far as known */
    int64_t eof_ms, read_ms; /* arrival of the FIN; of the last bytes */
    int64_t out_ms;          /* last time the output moved, or began to wait */
    size_t unread;           /* conn_unread at the last look for a stall */
    char peer[64];
    struct http_req req;
};

TAILQ_HEAD(conn_list, conn);

struct listener {
    struct http_server *server; /* borrowed */
    struct event *event;        /* owned */
    int fd;                     /* owned */
    int port;                   /* of TCP; 0 = none */
    unsigned tag;               /* what http_req_listener_tag tells */
    char *unix_path;            /* owned; unlinked at the end; NULL for TCP and taken sockets */
    SLIST_ENTRY(listener) link;
};

struct http_server {
    struct event_base *base; /* borrowed */
    struct http_server_config config;
    SLIST_HEAD(, listener) listeners;
    struct conn_list waiting, busy; /* waiting: the longest idle first */
    struct http_server_stats stats;
    struct request_counts *counts;   /* owned */
    struct upstream_pool *upstreams; /* owned; of the relays */
    int spare_fd;                    /* given up for a moment when descriptors run out */
    struct event *pause;             /* owned; wakes the listeners after a shortage */
    bool draining, adopted;
    struct event *drain; /* owned; the grace, then the posted on_drained */
    void (*on_drained)(void *arg);
    void *on_drained_arg;
    time_t date_at;
    char date[40];
    char *scratch;                /* owned; where heads are composed */
    LIST_HEAD(, tunnel) tunnels;  /* owned; relay_tunnel.c */
    LIST_HEAD(, ws_conn) sockets; /* owned; ws_conn.c */
    unsigned n_sockets;           /* of both: they left the connections' count */
};

#define SERVER_FIELDS_MAX 65536
#define SERVER_SCRATCH (SERVER_FIELDS_MAX + 32768) /* extra fields, our own, and a small body */

/* conn.c */
int conn_new(struct http_server *server, int fd, const char *peer, bool local,
             unsigned tag);     /* takes fd always */
void conn_free(struct conn *c); /* ends the request, closes; unlinks from the server */
void conn_post(struct conn *c); /* run soon, from the loop */
void conn_run(struct conn *c);
void conn_break(struct conn *c); /* the peer is lost or to be cut: freed in the next run */
void conn_enable(struct conn *c, short what); /* EV_READ, EV_WRITE; breaks it when that fails */
void conn_shut_when_idle(struct conn *c);     /* draining */
int64_t conn_arrived(const struct conn *c);   /* bytes that nobody has looked at, read or not */
bool conn_drop_oldest(struct http_server *server); /* makes room; false when all are busy */
int64_t conn_now_ms(void); /* loop_clock_ms: what nobody could look at is not late */

/* conn_deadline.c */
void conn_arm_timer(struct conn *c);
void conn_check_deadlines(struct conn *c); /* may break the connection or refuse the request */

/* conn_parse.c: HEAD */
bool conn_step_head(struct conn *c);
/* conn_body.c: decoding, COLLECT, streamed bodies, discarding. Steps tell whether anything moved. */
void conn_body_begin(struct conn *c);
bool conn_step_collect(struct conn *c);
bool conn_step_stream_body(struct conn *c);
bool conn_step_discard(struct conn *c); /* false also when the body is done */
bool conn_body_is_awaited(const struct conn *c);
void conn_body_broke(struct conn *c, const struct err *err);
void conn_send_continue(struct conn *c);
/* conn_write.c */
void conn_flush(struct conn *c);
size_t conn_pending(const struct conn *c);
size_t
conn_unread(const struct conn *c); /* the same and what the kernel still holds for the peer */
bool conn_step_produce(struct conn *c);
/* resp.c: counts body bytes that are about to be sent, or were; false when they may not be. */
bool resp_account(struct http_req *req, size_t n);
/* conn.c */
void conn_dispatch(struct conn *c);                      /* calls the handler: ACTIVE */
void conn_refuse(struct conn *c, const struct err *err); /* answers an error and closes */
void conn_set_phase(struct conn *c, enum conn_phase phase);

/* relay_tunnel.c: takes both; bytes flow until both sides closed or one failed. idle_ms 0 = for ever. */
void tunnel_start(struct http_server *server, struct bufferevent *client,
                  struct bufferevent *backend, int idle_ms);
void tunnel_free_all(struct http_server *server);

/* ws_conn.c: cuts every WebSocket; their owners hear of it. */
void ws_end_all(struct http_server *server);

/* server_metrics.c */
struct request_counts *request_counts_new(const struct route *routes, size_t n_routes);
void request_counts_free(struct request_counts *c); /* NULL is fine */
void request_counts_add(struct http_server *server, const struct http_req *req,
                        int64_t duration_us);

/* server.c */
void server_check_drained(struct http_server *server); /* posts on_drained when nobody is left */
/* ERR_OVERLOADED: as many WebSockets are open, tunnels among them, as connections are allowed. */
int server_check_sockets(const struct http_server *server, struct err *err) must_check;
const char *server_date(struct http_server *server);
