#include "proto/http/relay_head.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/http/conn_priv.h"
#include "proto/http/token.h"

static const char *const hop_by_hop[] = {
    "Connection",          "Keep-Alive", "Proxy-Connection",  "Proxy-Authenticate",
    "Proxy-Authorization", "TE",         "Transfer-Encoding", "Upgrade",
    "Content-Length",      NULL,
};
static const char *const request_only[] = {"Expect", "Host", "HTTP2-Settings", "Trailer", NULL};
static const char *const forwarding[] = {
    "X-Forwarded-For",  "X-Forwarded-Host",   "X-Forwarded-Proto",
    "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server",
    "X-Real-IP",        "Forwarded",          NULL,
};

static bool listed(const char *const *names, const char *name)
{
    for (; names && *names; names++) {
        if (strcasecmp(*names, name) == 0)
            return true;
    }
    return false;
}

static bool is_added(const struct relay_options *o, const char *name)
{
    for (size_t i = 0; o->add && o->add[i][0]; i++) {
        if (strcasecmp(o->add[i][0], name) == 0)
            return true;
    }
    return false;
}

static bool passes(const struct head *h, const struct relay_options *o, const char *name)
{
    if (listed(hop_by_hop, name) || listed(request_only, name) || head_connection_has(h, name))
        return false;
    return !listed(o->drop, name) && !is_added(o, name) &&
           !(o->forwarded && listed(forwarding, name));
}

static void put(struct evbuffer *out, const char *text)
{
    (void)evbuffer_add(out, text,
                       strlen(text)); /* out of memory shows as a broken request at the backend */
}

static void put_field(struct evbuffer *out, const char *name, const char *value)
{
    put(out, name);
    put(out, ": ");
    put(out, value);
    put(out, "\r\n");
}

static void put_forwarding(struct evbuffer *out, struct http_req *req, const char *host)
{
    const char *peer = http_req_peer(req);
    const char *end = strrchr(peer, ':');
    size_t skip = peer[0] == '[';

    put_field(out, "X-Forwarded-Proto", "http");
    if (host)
        put_field(out, "X-Forwarded-Host", host);
    if (!end)
        return; /* a Unix socket has no address */
    put(out, "X-Forwarded-For: ");
    (void)evbuffer_add(out, peer + skip, (size_t)(end - peer) - 2 * skip); /* as in put */
    put(out, "\r\n");
}

static void put_body_framing(struct evbuffer *out, const struct head *h)
{
    char number[24];

    if (h->chunked) {
        put_field(out, "Transfer-Encoding", "chunked");
    } else if (h->content_length >= 0) {
        (void)snprintf(number, sizeof(number), "%lld", (long long)h->content_length); /* fits */
        put_field(out, "Content-Length", number);
    }
}

void relay_head_write_request(struct evbuffer *out, struct http_req *req,
                              const struct relay_options *o, bool upgrade)
{
    const struct head *h = &req->head;
    const char *host = head_get(h, "Host");

    put(out, h->method);
    put(out, " ");
    put(out, o->target);
    put(out, " HTTP/1.1\r\n");
    if (!is_added(o, "Host"))
        put_field(out, "Host", host && *host ? host : "localhost");
    for (size_t i = 0; i < h->n_fields; i++) {
        if (passes(h, o, h->fields[i].name))
            put_field(out, h->fields[i].name, h->fields[i].value);
    }
    if (o->forwarded)
        put_forwarding(out, req, host);
    for (size_t i = 0; o->add && o->add[i][0]; i++)
        put_field(out, o->add[i][0], o->add[i][1]);
    put_body_framing(out, h);
    if (upgrade)
        put(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    else
        put(out, "\r\n"); /* the connection may serve the next request (upstream_pool.h) */
}

static void pass_location(struct http_req *req, const char *prefix, const char *value)
{
    char *text;

    if (!prefix || value[0] != '/' || value[1] == '/') {
        http_resp_header(req, "Location", value);
        return;
    }
    text = arena_printf(http_req_arena(req), "%s%s", prefix, value);
    if (text)
        http_resp_header(req, "Location", text);
}

static const char *const ours[] = {"Server", "Date", NULL};

void relay_head_pass_fields(struct http_req *req, const struct head *h, const char *location_prefix)
{

    for (size_t i = 0; i < h->n_fields; i++) {
        const char *name = h->fields[i].name;

        if (listed(hop_by_hop, name) || listed(ours, name) || head_connection_has(h, name))
            continue;
        if (strcasecmp(name, "Location") == 0)
            pass_location(req, location_prefix, h->fields[i].value);
        else
            http_resp_header(req, name, h->fields[i].value);
    }
}

static bool is_announced(const struct head *h, const char *name)
{
    for (size_t i = 0; i < h->n_fields; i++) {
        if (strcasecmp(h->fields[i].name, "Trailer") == 0 &&
            token_list_has(h->fields[i].value, name))
            return true;
    }
    return false;
}

/* Cuts a line into its name and its trimmed value. */
static const char *cut_value(char *line)
{
    char *value = strchr(line, ':'); /* chunked.c has seen it */
    size_t len;

    /* -fanalyzer: the colon is there */
    *value++ = '\0';
    value += strspn(value, " \t");
    len = strlen(value);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        value[--len] = '\0';
    return value;
}

void relay_head_pass_trailers(struct http_req *req, const struct head *h, char *text)
{
    char *end;

    for (char *line = text; *line != '\r'; line = end + 2) {
        end = strchr(line, '\r');
        /* -fanalyzer: every line has its end */
        *end = '\0';
        const char *value = cut_value(line);
        if (!listed(hop_by_hop, line) && !listed(ours, line) && is_announced(h, line))
            http_resp_trailer(req, line, value);
    }
}

void relay_head_write_switch(struct evbuffer *out, const struct head *h)
{
    put(out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    for (size_t i = 0; i < h->n_fields; i++) {
        if (!listed(hop_by_hop, h->fields[i].name) && strcasecmp(h->fields[i].name, "Server") != 0)
            put_field(out, h->fields[i].name, h->fields[i].value);
    }
    put(out, "\r\n");
}
