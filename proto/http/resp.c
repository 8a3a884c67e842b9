#include "proto/http/resp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "proto/base/log.h"
#include "proto/http/conn_priv.h"
#include "proto/json/jfield.h"

#define COPY_MAX 16384 /* smaller bodies travel in one buffer with their head */
#define ERROR_JSON_MAX 4096

/* ---- status line and fields --------------------------------------------------------------------- */

const char *http_status_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].status == status)
            return rows[i].text;
    }
    return "Status";
}

/* All of a field or nothing of it; `failed` tells. */
static void add_field(struct strbuf *fields, const char *name, const char *value)
{
    size_t before = fields->len;

    strbuf_adds(fields, name);
    strbuf_adds(fields, ": ");
    for (; *value; value++)
        strbuf_addc(fields, (unsigned char)*value < 0x20 || *value == 0x7f ? ' ' : *value);
    strbuf_adds(fields, "\r\n");
    if (fields->failed)
        fields->len = before;
}

void http_resp_header(struct http_req *req, const char *name, const char *value)
{
    struct req_resp *r = &req->resp;

    if (value == NULL || r->begun || strcasecmp(name, "Content-Length") == 0 ||
        strcasecmp(name, "Transfer-Encoding") == 0)
        return;
    if (strcasecmp(name, "Connection") == 0) {
        r->keep_alive_given = strcasecmp(value, "keep-alive") == 0;
        return;
    }
    if (strcasecmp(name, "Content-Type") == 0)
        r->type_given = true;
    add_field(&r->fields, name, value);
}

void http_resp_trailer(struct http_req *req, const char *name, const char *value)
{
    if (req->resp.chunked && !req->resp.ended && !req->resp.swallow)
        add_field(&req->resp.fields, name, value);
}

bool http_resp_header_overflowed(const struct http_req *req)
{
    return req->resp.fields.failed;
}

/* The head is built in the server's scratch memory: everything that may go in is bounded by its size. */
struct composer {
    char *p, *end;
};

static void put(struct composer *o, const char *text, size_t n)
{
    if (n > (size_t)(o->end - o->p))
        n = (size_t)(o->end - o->p);
    memcpy(o->p, text, n);
    o->p += n;
}

static void puts_to(struct composer *o, const char *text)
{
    put(o, text, strlen(text));
}

static void put_number(struct composer *o, uint64_t value)
{
    char digits[20];
    size_t i = sizeof(digits);

    do {
        digits[--i] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(o, digits + i, sizeof(digits) - i);
}

static void put_connection(struct composer *o, struct http_req *req)
{
    if (req->conn->closing)
        puts_to(o, "Connection: close\r\n");
    else if (req->head.http10 || req->resp.keep_alive_given)
        puts_to(o, "Connection: keep-alive\r\n");
}

static void put_framing(struct composer *o, struct http_req *req, int64_t length)
{
    int status = req->resp.status;

    if (length >= 0 && status != 204 && status != 304) {
        puts_to(o, "Content-Length: ");
        put_number(o, (uint64_t)length);
        puts_to(o, "\r\n");
    } else if (req->resp.chunked) {
        puts_to(o, "Transfer-Encoding: chunked\r\n");
    }
}

static void decorate(struct http_req *req)
{
    const struct http_server_config *config = &req->conn->server->config;

    if (config->decorate && !req->resp.decorated) {
        req->resp.decorated = true;
        config->decorate(req, config->app);
    }
}

/* An answer that comes before the body was read must not promise a connection that cannot go on. */
static void decide_close(struct http_req *req)
{
    struct conn *c = req->conn;
    const struct req_body *b = &req->body;

    if (c->server->draining || req->resp.until_close)
        c->closing = true;
    if (!b->done && !b->reading && (b->continue_due || b->left > CONN_DISCARD_MAX))
        c->closing = true;
    if (c->eof && evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
        c->closing = true;
}

static size_t compose_head(struct http_req *req, int status, const char *type, int64_t length)
{
    struct http_server *server = req->conn->server;
    struct composer o = {server->scratch, server->scratch + SERVER_SCRATCH};

    decorate(req);
    req->resp.begun = true;
    req->resp.status = status;
    decide_close(req);
    puts_to(&o, "HTTP/1.1 ");
    put_number(&o, (uint64_t)status);
    puts_to(&o, " ");
    puts_to(&o, http_status_reason(status));
    puts_to(&o, "\r\nDate: ");
    puts_to(&o, server_date(server));
    puts_to(&o, "\r\n");
    if (type && !req->resp.type_given) {
        puts_to(&o, "Content-Type: ");
        puts_to(&o, type);
        puts_to(&o, "\r\n");
    }
    put_framing(&o, req, length);
    put_connection(&o, req);
    put(&o, req->resp.fields.data ? req->resp.fields.data : "", req->resp.fields.len);
    puts_to(&o, "\r\n");
    return (size_t)(o.p - server->scratch);
}

/* ---- whole answers ------------------------------------------------------------------------------ */

static bool may_answer(struct http_req *req)
{
    return req->conn->bev && !req->resp.begun;
}

static void finish_whole(struct http_req *req)
{
    req->resp.ended = true;
    if (!req->conn->running)
        conn_post(req->conn);
}

static void add_output(struct http_req *req, const void *p, size_t n)
{
    if (evbuffer_add(bufferevent_get_output(req->conn->bev), p, n) < 0)
        conn_break(req->conn); /* out of memory: a half answer must not look whole */
}

enum http_result http_resp_data(struct http_req *req, int status, const char *type, const void *p,
                                size_t n)
{
    char *scratch = req->conn->server->scratch;
    bool swallow = http_req_is_head(req) || status == 204 || status == 304;
    size_t head_len;

    if (!may_answer(req))
        return H_DONE;
    head_len = compose_head(req, status, type, (int64_t)n);
    if (!swallow && n > 0) {
        req->resp.bytes = n;
        if (n <= COPY_MAX && n <= SERVER_SCRATCH - head_len) {
            memcpy(scratch + head_len, p, n);
            head_len += n;
            n = 0;
        }
    }
    add_output(req, scratch, head_len);
    if (!swallow && n > 0)
        add_output(req, p, n);
    finish_whole(req);
    return H_DONE;
}

enum http_result http_resp_empty(struct http_req *req, int status)
{
    return http_resp_data(req, status, NULL, "", 0);
}

static enum http_result send_no_memory(struct http_req *req)
{
    static const char text[] =
        "{\"code\":\"RUNTIME_ERROR\",\"message\":\"out of memory [EXECD_002]\"}";

    return http_resp_data(req, err_row(ERR_OUT_OF_MEMORY)->status,
                          req->conn->server->config.json_type, text, sizeof(text) - 1);
}

int http_resp_made(struct http_req *req, int status, json_t *json)
{
    const struct conn *c = req->conn; /* outlives the request: whoever answers is called by it */
    size_t len = 0;
    cleanup_free char *text = json ? json_compact(json, &len) : NULL;

    json_decref(json);
    if (text)
        (void)http_resp_data(req, status, c->server->config.json_type, text, len);
    else
        (void)send_no_memory(req); /* both: always H_DONE */
    return text && !c->broken ? 0 : -ENOMEM;
}

enum http_result http_resp_json(struct http_req *req, int status, json_t *json)
{
    (void)!http_resp_made(req, status, json); /* nothing is to be undone */
    return H_DONE;
}

static void default_envelope(struct http_req *req, const struct err_row *row, const char *text)
{
    cleanup_strbuf struct strbuf message, json;

    strbuf_init(&message, ERROR_JSON_MAX);
    strbuf_init(&json, ERROR_JSON_MAX);
    strbuf_addf(&message, "%s [%s]", text, row->family);
    strbuf_addf(&json, "{\"code\":\"%s\",\"message\":", row->wire);
    json_escape(&json, message.data, message.len);
    strbuf_adds(&json, "}");
    if (message.failed || json.failed) {
        (void)send_no_memory(req); /* always H_DONE */
        return;
    }
    (void)http_resp_data(req, row->status, req->conn->server->config.json_type, json.data,
                         json.len); /* always H_DONE */
}

enum http_result http_resp_error(struct http_req *req, const struct err *err)
{
    const struct http_server_config *config = &req->conn->server->config;
    const struct err_row *row = err_classify(err);
    json_t *json = NULL;

    if (req->resp.begun) {
        if (!req->resp.ended)
            http_resp_abort(req);
        return H_DONE;
    }
    if (config->render_error)
        json = config->render_error(req, err, config->app);
    if (json)
        return http_resp_json(req, row->status, json);
    default_envelope(req, row, err->text[0] ? err->text : row->text);
    return H_DONE;
}

enum http_result http_resp_fail(struct http_req *req, int err_code, const char *fmt, ...)
{
    struct err err = {.code = err_code};
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(err.text, sizeof(err.text), fmt, args); /* a cut message is a message */
    va_end(args);
    return http_resp_error(req, &err);
}

/* ---- streams ------------------------------------------------------------------------------------ */

enum http_result http_resp_begin(struct http_req *req, int status, const char *type, int64_t length,
                                 const struct http_producer *producer, void *arg)
{
    struct req_resp *r = &req->resp;
    size_t head_len;

    if (!may_answer(req)) { /* the response is over already */
        if (producer && producer->stop)
            producer->stop(arg);
        return H_STREAM;
    }
    r->stream = true;
    req->conn->server->stats.open_streams++;
    r->swallow = http_req_is_head(req) || status == 204 || status == 304;
    r->chunked = length < 0 && !req->head.http10 && status != 204 && status != 304;
    r->until_close = length < 0 && req->head.http10 && !r->swallow;
    r->left = length;
    if (producer)
        r->producer = *producer;
    r->arg = arg;
    head_len = compose_head(req, status, type, length);
    strbuf_reset(&r->fields); /* from here on: trailers */
    add_output(req, req->conn->server->scratch, head_len);
    if (r->swallow || length == 0) {
        r->left = 0;
        r->ended = true;
    }
    conn_post(req->conn);
    return H_STREAM;
}

/* How many of n bytes may still be sent; a producer that writes more than it promised has broken framing. */
bool resp_account(struct http_req *req, size_t n)
{
    struct req_resp *r = &req->resp;

    if (!req->conn->bev || !r->stream || r->ended || req->conn->broken)
        return false;
    if (r->left >= 0 && (uint64_t)r->left < n) {
        log_printf(LOG_LEVEL_DEBUG, "http", "a producer wrote more than its declared length");
        http_resp_abort(req);
        return false;
    }
    if (r->left >= 0)
        r->left -= (int64_t)n;
    r->bytes += n;
    r->idle = false; /* once this has left, the producer is asked again */
    return true;
}

static void put_chunk_size(struct http_req *req, size_t n)
{
    char line[24];
    int len = snprintf(line, sizeof(line), "%zx\r\n", n);

    add_output(req, line, (size_t)len);
}

static void after_write(struct http_req *req)
{
    struct conn *c = req->conn;

    /* Outside a run nobody flushes for us: let the bufferevent do it with the next turn of the loop. A peer that takes
     * nothing then causes no further run, so its stall must be looked for from here on. */
    if (!c->bev || c->running)
        return;
    if (c->direct)
        conn_enable(c, EV_WRITE);
    conn_arm_timer(c);
}

void http_resp_write(struct http_req *req, const void *p, size_t n)
{
    if (n == 0 || !resp_account(req, n))
        return;
    if (req->resp.chunked)
        put_chunk_size(req, n);
    add_output(req, p, n);
    if (req->resp.chunked)
        add_output(req, "\r\n", 2);
    after_write(req);
}

void http_resp_write_buffer(struct http_req *req, struct evbuffer *b)
{
    size_t n = evbuffer_get_length(b);

    if (n == 0)
        return;
    if (!resp_account(req, n)) {
        (void)evbuffer_drain(b, n); /* nobody wants it */
        return;
    }
    if (req->resp.chunked)
        put_chunk_size(req, n);
    if (evbuffer_add_buffer(bufferevent_get_output(req->conn->bev), b) < 0)
        conn_break(req->conn);
    if (req->resp.chunked)
        add_output(req, "\r\n", 2);
    after_write(req);
}

void http_resp_end(struct http_req *req)
{
    struct req_resp *r = &req->resp;

    if (!r->stream || r->ended || !req->conn->bev)
        return;
    if (r->left > 0) { /* fewer bytes than promised: only a cut tells the peer */
        http_resp_abort(req);
        return;
    }
    r->ended = true;
    if (r->chunked) {
        add_output(req, "0\r\n", 3);
        if (r->fields.len > 0)
            add_output(req, r->fields.data, r->fields.len);
        add_output(req, "\r\n", 2);
    }
    conn_post(req->conn);
}

void http_resp_abort(struct http_req *req)
{
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct conn *c = req->conn;

    if (!c->bev)
        return;
    conn_flush(c); /* what was said before the cut may still arrive */
    /* Until-close framing has no other sign of an incomplete body than a reset. */
    if (req->resp.until_close)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)); /* best effort */
    c->broken = true;
    conn_post(c);
}

size_t http_resp_pending(const struct http_req *req)
{
    return conn_pending(req->conn);
}

size_t http_resp_unread(const struct http_req *req)
{
    return conn_unread(req->conn);
}

bool http_resp_wants_more(const struct http_req *req)
{
    return !req->conn->broken &&
           conn_pending(req->conn) < req->conn->server->config.limits.out_high;
}

void http_resp_wake(struct http_req *req)
{
    req->resp.idle = false;
    if (!req->conn->running)
        conn_post(req->conn);
}
