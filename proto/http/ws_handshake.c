/* The opening handshake: RFC 6455 section 4.2. */
#include <errno.h>
#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <string.h>
#include <strings.h>

#include "proto/http/conn_priv.h"
#include "proto/http/token.h"
#include "proto/http/ws_conn_priv.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_LEN 24 /* base64 of 16 bytes */

bool ws_is_upgrade(const struct http_req *req)
{
    return head_is_websocket(&req->head);
}

static bool key_is_valid(const char *key)
{
    struct base64_decode_ctx ctx;
    uint8_t nonce[BASE64_DECODE_LENGTH(KEY_LEN)];
    size_t len = sizeof(nonce);

    if (key == NULL || strlen(key) != KEY_LEN)
        return false;
    base64_decode_init(&ctx);
    return base64_decode_update(&ctx, &len, nonce, KEY_LEN, key) == 1 &&
           base64_decode_final(&ctx) == 1 && len == 16;
}

/* A body would be read as frames. */
static bool has_body(const struct http_req *req)
{
    return req->head.chunked || req->head.content_length > 0;
}

int ws_check_handshake(struct http_req *req, struct err *err)
{
    const char *version = http_req_header(req, "Sec-WebSocket-Version");

    if (!ws_is_upgrade(req) || strcmp(http_req_method(req), "GET") != 0)
        return err_set(
            err, ERR_BAD_REQUEST, EINVAL,
            "this is a WebSocket: GET, Connection: Upgrade and Upgrade: websocket are needed");
    if (version == NULL || strcmp(version, "13") != 0) {
        http_resp_header(req, "Sec-WebSocket-Version", "13");
        return err_set(err, ERR_UPGRADE_REQUIRED, EINVAL, "Sec-WebSocket-Version must be 13");
    }
    if (http_req_header_count(req, "Sec-WebSocket-Key") != 1 ||
        !key_is_valid(http_req_header(req, "Sec-WebSocket-Key")))
        return err_set(err, ERR_BAD_REQUEST, EINVAL,
                       "Sec-WebSocket-Key must be given once: 16 bytes in base64");
    if (has_body(req))
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "a WebSocket request has no body");
    return 0;
}

/* ---- origin -------------------------------------------------------------------------------------- */

static bool is_own_origin(const struct http_req *req, const char *origin)
{
    static const char *const schemes[] = {"http://", "https://"};
    const char *host = http_req_header(req, "Host");

    for (size_t i = 0; host != NULL && i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (strncasecmp(origin, schemes[i], len) == 0 && strcasecmp(origin + len, host) == 0)
            return true;
    }
    return false;
}

int ws_check_origin(const struct http_req *req, const char *const *allowed, struct err *err)
{
    const char *origin = http_req_header(req, "Origin");

    if (origin == NULL || (http_req_header_count(req, "Origin") == 1 && is_own_origin(req, origin)))
        return 0;
    for (; allowed != NULL && *allowed != NULL; allowed++) {
        if (strcmp(*allowed, "*") == 0 || strcasecmp(*allowed, origin) == 0)
            return 0;
    }
    return err_set(err, ERR_ORIGIN_NOT_ALLOWED, EACCES, "pages of '%.100s' may not connect",
                   origin);
}

/* ---- subprotocols -------------------------------------------------------------------------------- */

/* Calls for each offered subprotocol, over all fields of that name; stops when visit answers true. */
static bool each_offer(const struct http_req *req, bool (*visit)(struct slice item, void *arg),
                       void *arg)
{
    const struct head *h = &req->head;

    for (size_t i = 0; i < h->n_fields; i++) {
        struct slice item;
        const char *list = h->fields[i].value;
        if (strcasecmp(h->fields[i].name, "Sec-WebSocket-Protocol") != 0)
            continue;
        while (token_next(&list, &item)) {
            if (visit(item, arg))
                return true;
        }
    }
    return false;
}

static bool is_wanted(struct slice item, void *arg)
{
    const char *wanted = arg;

    return item.len == strlen(wanted) && memcmp(item.ptr, wanted, item.len) == 0;
}

const char *ws_subprotocol(const struct http_req *req, const char *const *ours)
{
    for (; ours != NULL && *ours != NULL; ours++) {
        if (each_offer(req, is_wanted, (void *)(uintptr_t)*ours))
            return *ours;
    }
    return NULL;
}

struct secret {
    const char *prefix;
    struct slice found;
    unsigned n;
};

static bool find_secret(struct slice item, void *arg)
{
    struct secret *s = arg;
    size_t len = strlen(s->prefix);

    if (item.len <= len || memcmp(item.ptr, s->prefix, len) != 0)
        return false;
    s->found = (struct slice){item.ptr + len, item.len - len};
    return ++s->n > 1;
}

const char *ws_offered_secret(struct http_req *req, const char *prefix)
{
    struct secret s = {.prefix = prefix};

    if (each_offer(req, find_secret, &s) || s.n == 0)
        return NULL;
    return arena_strndup(http_req_arena(req), s.found.ptr, s.found.len);
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static void accept_key(const char *key, char out[BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE) + 1])
{
    struct sha1_ctx ctx;
    uint8_t digest[SHA1_DIGEST_SIZE];

    sha1_init(&ctx);
    sha1_update(&ctx, KEY_LEN, (const uint8_t *)key);
    sha1_update(&ctx, strlen(GUID), (const uint8_t *)GUID);
    sha1_digest(&ctx, sizeof(digest), digest);
    base64_encode_raw(out, sizeof(digest), digest);
    out[BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE)] = '\0';
}

int ws_write_answer(const struct http_req *req, const char *const *subprotocols,
                    struct evbuffer *out)
{
    char key[BASE64_ENCODE_RAW_LENGTH(SHA1_DIGEST_SIZE) + 1];
    const char *chosen = ws_subprotocol(req, subprotocols);

    accept_key(http_req_header(req, "Sec-WebSocket-Key"), key);
    int n = evbuffer_add_printf(out,
                                "HTTP/1.1 101 Switching Protocols\r\n"
                                "Upgrade: websocket\r\n"
                                "Connection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: %s\r\n"
                                "%s%s%s\r\n",
                                key, chosen != NULL ? "Sec-WebSocket-Protocol: " : "",
                                chosen != NULL ? chosen : "", chosen != NULL ? "\r\n" : "");
    return n < 0 ? -ENOMEM : 0;
}
