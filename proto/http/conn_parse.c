/* From bytes to a request that may run: head, route, credentials, body rule. */
#include <errno.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/http/conn_priv.h"

#define HEAD_BUF_MIN 1024
#define REWRITES_MAX 4 /* each looks through the whole path */

/* Scans what has arrived since the last look. 1: complete, its length in *ret_len. */
static int scan_input(struct conn *c, size_t *ret_len, struct err *err)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_ptr at;
    struct evbuffer_iovec v[8];
    int n;

    while (c->scan.total < evbuffer_get_length(in)) {
        if (evbuffer_ptr_set(in, &at, c->scan.total, EVBUFFER_PTR_SET) < 0)
            return 0;
        n = evbuffer_peek(in, -1, &at, v, (int)ARRAY_LEN(v));
        for (int i = 0; i < n && i < (int)ARRAY_LEN(v); i++) {
            size_t used;
            int r = head_scan_feed(&c->scan, v[i].iov_base, v[i].iov_len, &used, err);

            if (r < 0)
                return r;
            if (r == 1) {
                *ret_len = c->scan.total;
                return 1;
            }
        }
    }
    return 0;
}

/* Moves the head out of the input into the connection's own buffer, where it is cut into strings. */
static int take_head(struct conn *c, size_t len, struct err *err)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);

    if (len > c->head_cap) {
        size_t cap = MAX(len, (size_t)HEAD_BUF_MIN);
        char *p = realloc(c->head_buf, cap);

        if (!p)
            return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a request head");
        c->head_buf = p;
        c->head_cap = cap;
    }
    (void)evbuffer_remove(in, c->head_buf, len); /* these bytes are there */
    return head_parse_request(&c->req.head, c->head_buf + c->scan.skip, len - c->scan.skip, err);
}

static void begin_request(struct conn *c)
{
    c->req.active = true;
    c->req.start_ns = clock_monotonic_ns();
    c->server->stats.requests++;
    c->server->stats.active_requests++;
}

/* Open rows are open at exactly their own bytes: no escapes, no query, no absolute form (hardening E02).
 * Rows with parameters carry their credential in the path and are open as matched. */
static bool is_open(const struct http_req *req)
{
    const struct route *route = req->match.route;

    if (!route || route->auth != AUTH_OPEN)
        return false;
    if (strpbrk(route->pattern, ":*"))
        return true;
    return strcmp(req->head.path, route->pattern) == 0 && !req->head.has_query &&
           !req->head.absolute_form;
}

static int check_access(struct conn *c, struct err *err)
{
    const struct http_server_config *config = &c->server->config;
    const struct route *route = c->req.match.route;
    bool open = is_open(&c->req);

    if (!open && c->only_open) {
        c->closing = true; /* the place belongs to the next probe */
        return err_set(err, ERR_OVERLOADED, EAGAIN, "too many connections, try again");
    }
    if (c->server->draining && !open)
        c->closing = true;
    if (open || !config->authorize)
        return 0;
    int r = config->authorize(&c->req, route, config->app, err);
    /* a token that was lost for want of memory is not a wrong one */
    return r < 0 && c->req.query_error == -ENOMEM ? http_req_query_check(&c->req, err) : r;
}

static int check_route(struct conn *c, struct err *err)
{
    struct route_match *m = &c->req.match;

    if (m->route)
        return 0;
    if (!m->path_known)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "no such route: %s %.100s", c->req.head.method,
                       c->req.head.path);
    http_resp_header(&c->req, "Allow", m->allow);
    return err_set(err, ERR_METHOD_NOT_ALLOWED, EPERM, "%.100s does not support %s",
                   c->req.head.path, c->req.head.method);
}

/* A value that was lost in decoding must not look like one that was not given. Routes that take any path hand the
 * query on as it is. */
static int check_query(struct conn *c, struct err *err)
{
    if (strchr(c->req.match.route->pattern, '*') != NULL)
        return 0;
    return http_req_query_check(&c->req, err);
}

static uint64_t body_limit(const struct route *route)
{
    if (route->body == BODY_NONE)
        return CONN_DISCARD_MAX;
    if (route->body_max > 0)
        return route->body_max;
    return route->body == BODY_COLLECTED ? 1 << 20 : UINT64_MAX;
}

static int check_body(struct conn *c, struct err *err)
{
    struct req_body *b = &c->req.body;

    b->max = body_limit(c->req.match.route);
    if (c->req.head.content_length > 0 && (uint64_t)c->req.head.content_length > b->max) {
        c->closing = true;
        return err_set(err, ERR_BODY_TOO_LARGE, EFBIG, "the request body is larger than %llu bytes",
                       (unsigned long long)b->max);
    }
    return 0;
}

/* Finds the row, again for every path that the program says it stands for. Nothing is decoded twice: a rewritten path is
 * a raw piece of the one before it. */
static int find_route(struct conn *c, struct err *err)
{
    const struct http_server_config *config = &c->server->config;

    for (int depth = 0; depth <= REWRITES_MAX; depth++) {
        const char *path = NULL;
        int r = route_find(config->routes, config->n_routes, c->req.head.method, c->req.head.path,
                           &c->req.arena, &c->req.match, err);

        if (r < 0 || !config->rewrite)
            return r;
        r = config->rewrite(&c->req, config->app, &path, err);
        if (r < 0 || !path)
            return r;
        c->req.head.path = path;
    }
    c->req.match = (struct route_match){0};
    return err_set(err, ERR_BAD_REQUEST, ELOOP, "the request path leads to itself too often");
}

/* Credentials come before everything that tells about routes, and before any byte of a body. */
static int admit(struct conn *c, struct err *err)
{
    struct err route_err = {0};
    int found = find_route(c, &route_err);
    int r = check_access(c, err);

    if (r < 0)
        return r;
    if (found < 0) {
        *err = route_err;
        return found;
    }
    if ((r = check_route(c, err)) < 0 || (r = check_query(c, err)) < 0)
        return r;
    return check_body(c, err);
}

static void start_request(struct conn *c, size_t head_len)
{
    struct err err = {0};

    begin_request(c);
    if (take_head(c, head_len, &err) < 0) {
        conn_refuse(c, &err);
        return;
    }
    if (!c->req.head.keep_alive)
        c->closing = true;
    conn_body_begin(c);
    if (admit(c, &err) < 0) {
        if (err.code == ERR_NONE)
            err.code = ERR_UNAUTHORIZED; /* an authorize hook that only said no */
        conn_set_phase(c, CONN_ACTIVE);
        (void)http_resp_error(&c->req, &err); /* H_DONE: nobody to hand it to */
        return;
    }
    if (c->req.match.route->body == BODY_STREAMED || c->req.body.done)
        conn_dispatch(c);
    else
        conn_set_phase(c, CONN_COLLECT);
}

bool conn_step_head(struct conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct err err = {0};
    size_t len = 0;
    int r;

    if (conn_pending(c) >= c->server->config.limits.out_high)
        return false; /* answers first: the client does not read them */
    if (c->closing && c->scan.total == 0 && conn_arrived(c) == 0) {
        if (conn_pending(c) == 0)
            conn_break(c);
        return false;
    }
    r = scan_input(c, &len, &err);
    if (r != 0 || c->scan.total > 0) {
        if (!c->head_begun) {
            c->head_begun = true;
            c->since_ms = conn_now_ms();
        }
    }
    if (r == 1) {
        start_request(c, len);
        return true;
    }
    if (r < 0) {
        begin_request(c);
        (void)evbuffer_drain(
            in, evbuffer_get_length(in)); /* nothing behind a malformed head is a request */
        conn_refuse(c, &err);
        return true;
    }
    if (c->eof && conn_pending(c) == 0)
        conn_break(c);
    return false;
}
