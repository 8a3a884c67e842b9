/*
 * A program's HTTP surface as data: one row per method and path, matched on the decoded path.
 *
 * Patterns are made of literal segments, ":name" (one non-empty segment) and a final "*name" (the rest,
 * raw and undecoded, possibly empty). A known path with another method answers 405 with Allow; HEAD is
 * served by the GET row. Rows are tried in table order.
 * Thread rule: constant data. Source: contracts/execd.md 1.2, server.md 1.5, design.md 2.
 */
#pragma once

#include "proto/base/err.h"

struct http_req;

/* What a handler tells the connection. */
enum http_result {
    H_DONE,   /* the response is complete */
    H_STREAM, /* the response has begun; a producer goes on with it */
    H_WAIT,   /* somebody holds the request and will answer it later */
};

enum body_mode {
    BODY_NONE, /* a body is read and thrown away (up to 64 KiB, chunked too): contracts/execd.md rule 16 */
    BODY_COLLECTED, /* the handler runs when the whole body is in memory */
    BODY_STREAMED,  /* the handler runs after the head and reads the body itself */
};

enum route_auth {
    AUTH_REQUIRED, /* the program's authorize callback decides */
    AUTH_OPEN, /* exactly these bytes as target need no credential (no escapes, query, absolute form);
                    * rows with parameters carry theirs in the path and are open as matched */
};

typedef enum http_result (*http_handler)(struct http_req *req, void *app);

struct route {
    const char *method; /* "GET", ... or "*" for every method */
    const char *pattern;
    enum route_auth auth;
    enum body_mode body;
    uint64_t body_max; /* bytes; 0 with BODY_COLLECTED = 1 MiB, with BODY_STREAMED = unlimited */
    http_handler handler;
    const char *doc; /* one line, equal to the summary in OpenAPI */
};

#define ROUTE_PARAMS_MAX 4
struct route_match {
    const struct route *route; /* NULL: no such path, or path without this method */
    bool path_known;
    char allow[96]; /* "GET, HEAD, POST" when path_known and route is NULL */
    struct {
        const char *name;  /* borrowed from the pattern */
        const char *value; /* arena: decoded; for "*name" raw */
    } params[ROUTE_PARAMS_MAX];
    size_t n_params;
};

struct arena;
/* raw_path: the undecoded path of the target. -EINVAL on %00, bad escapes, invalid UTF-8 or control
 * bytes after one decode; otherwise 0 and *ret tells what was found. */
int route_find(const struct route *routes, size_t n_routes, const char *method,
               const char *raw_path, struct arena *arena, struct route_match *ret,
               struct err *err) must_check;
