#include "proto/http/req.h"

#include <errno.h>
#include <string.h>

#include "proto/http/conn_priv.h"
#include "proto/http/uri.h"

#define PAIRS_MAX 1000

const char *http_req_method(const struct http_req *req)
{
    return req->head.method;
}

bool http_req_is_head(const struct http_req *req)
{
    return strcmp(req->head.method, "HEAD") == 0;
}

const char *http_req_raw_path(const struct http_req *req)
{
    return req->head.path;
}

const char *http_req_raw_query(const struct http_req *req)
{
    return req->head.query;
}

struct arena *http_req_arena(struct http_req *req)
{
    return &req->arena;
}

struct event_base *http_req_base(struct http_req *req)
{
    return req->conn->server->base;
}

unsigned http_req_listener_tag(const struct http_req *req)
{
    return req->conn->tag;
}

const char *http_req_peer(const struct http_req *req)
{
    return req->conn->peer;
}

const char *http_req_param(const struct http_req *req, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < req->match.n_params; i++) {
        const char *have = req->match.params[i].name; /* ends at '/' or at the end of the pattern */

        if (strncmp(have, name, len) == 0 && (have[len] == '\0' || have[len] == '/'))
            return req->match.params[i].value;
    }
    return NULL;
}

const struct route *http_req_route(const struct http_req *req)
{
    return req->match.route;
}

/* ---- query -------------------------------------------------------------------------------------- */

/* Decodes one "key=value" in place; false = undecodable. */
static bool decode_pair(char *text, size_t len, struct query_pair *ret_pair)
{
    char *equals = memchr(text, '=', len);
    size_t key_len = equals ? (size_t)(equals - text) : len;
    char *value = equals ? equals + 1 : text + len;
    ssize_t k = uri_decode(text, key_len, true, text);
    ssize_t v = uri_decode(value, len - (size_t)(value - text), true, value);

    if (k < 0 || v < 0)
        return false;
    text[k] = '\0';
    value[v] = '\0'; /* at most the separator or the terminator of the copy */
    *ret_pair = (struct query_pair){text, value};
    return true;
}

static void parse_query(struct http_req *req)
{
    size_t n = 1;
    char *copy = arena_strndup(&req->arena, req->head.query, strlen(req->head.query));

    for (const char *p = req->head.query; *p; p++)
        n += *p == '&';
    n = MIN(n, (size_t)PAIRS_MAX);
    req->pairs = arena_alloc(&req->arena, n * sizeof(*req->pairs));
    if (!copy || !req->pairs) {
        req->query_error = -ENOMEM;
        return;
    }
    while (*copy && req->n_pairs < n) {
        size_t len = strcspn(copy, "&");
        bool last = copy[len] == '\0';

        if (len > 0 && !decode_pair(copy, len, &req->pairs[req->n_pairs]))
            req->query_error = -EINVAL;
        else if (len > 0)
            req->n_pairs++;
        copy += last ? len : len + 1;
    }
}

const char *http_req_query(struct http_req *req, const char *key, size_t i)
{
    if (!req->pairs && *req->head.query)
        parse_query(req);
    for (size_t k = 0; req->pairs && k < req->n_pairs; k++) {
        if (strcmp(req->pairs[k].key, key) == 0 && i-- == 0)
            return req->pairs[k].value;
    }
    return NULL;
}

int http_req_query_check(struct http_req *req, struct err *err)
{
    if (!req->pairs && *req->head.query)
        parse_query(req);
    if (req->query_error == -ENOMEM)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the query string");
    if (req->query_error != 0)
        return err_set(err, ERR_INVALID_QUERY, EINVAL,
                       "the query string holds a broken escape or %%00");
    return 0;
}

/* ---- fields ------------------------------------------------------------------------------------- */

const char *http_req_header(const struct http_req *req, const char *name)
{
    return head_get(&req->head, name);
}

size_t http_req_header_count(const struct http_req *req, const char *name)
{
    return head_count(&req->head, name);
}

/* ---- body --------------------------------------------------------------------------------------- */

struct slice http_req_body(const struct http_req *req)
{
    return (struct slice){req->body.data ? req->body.data : "", req->body.len};
}

void http_req_drop_body(struct http_req *req)
{
    free(take_ptr(&req->body.data));
    req->body.len = req->body.cap = 0;
}

void http_req_read_body(struct http_req *req, const struct http_body_ops *ops, void *arg)
{
    struct req_body *b = &req->body;

    if (b->reading)
        return;
    b->reading = true;
    b->ops = *ops;
    b->arg = arg;
    b->window_start_ms = conn_now_ms();
    b->window_got = 0;
    conn_send_continue(req->conn);
    conn_post(req->conn);
}

void http_req_pause_body(struct http_req *req)
{
    req->body.paused = true;
}

void http_req_resume_body(struct http_req *req)
{
    if (!req->body.paused)
        return;
    req->body.paused = false;
    req->body.window_start_ms = conn_now_ms(); /* the wait was ours, not the client's */
    req->body.window_got = 0;
    conn_post(req->conn);
}

void http_req_on_close(struct http_req *req, void (*on_close)(void *arg), void *arg)
{
    req->on_close = on_close;
    req->on_close_arg = arg;
}
