/*
 * Who may ask: everybody who carries the token in exactly one header field.
 */
#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/http/resp.h"
#include "proto/http/ws_conn.h"

#define TOKEN_HEADER "X-EXECD-ACCESS-TOKEN"
#define TOKEN_PROTOCOL "execd.token."

/* A page in a browser can give a WebSocket no header of its own, but subprotocols. The entry is never chosen, so it
 * is not sent back. */
static const char *token_of_page(struct http_req *req, const struct route *route)
{
    if (route == NULL || route->handler != h_pty_ws || !ws_is_upgrade(req))
        return NULL;
    return ws_offered_secret(req, TOKEN_PROTOCOL);
}

/* Says so once to the log, without the token. */
static bool is_guessing(struct api *api, struct http_req *req)
{
    bool first;
    if (attempts_take(&api->attempts, http_req_peer(req), clock_monotonic_ms(), &first))
        return false;
    if (first)
        log_event(LOG_LEVEL_WARN, "api", "wrong tokens, one after the other", "peer",
                  http_req_peer(req), NULL);
    http_resp_header(req, "Retry-After", "1");
    return true;
}

/* Compared as hashes of one length: neither the content nor the length of the token shows in the time taken. */
int api_authorize(struct http_req *req, const struct route *route, void *app, struct err *err)
{
    struct api *api = app;
    uint8_t presented[SHA256_LEN];
    if (!api->has_token)
        return 0;
    size_t n = http_req_header_count(req, TOKEN_HEADER);
    const char *token = n > 0 ? http_req_header(req, TOKEN_HEADER) : token_of_page(req, route);
    codec_sha256(token != NULL ? token : "", token != NULL ? strlen(token) : 0, presented);
    bool same = codec_equal(presented, api->token_sha256, SHA256_LEN);
    if (same && token != NULL && n <= 1)
        return 0;
    if (token != NULL && is_guessing(api, req))
        return err_set(err, ERR_TOO_MANY_ATTEMPTS, EACCES,
                       "too many wrong tokens from this address; the right one is still taken");
    return err_set(err, ERR_UNAUTHORIZED, EACCES,
                   "Unauthorized: invalid or missing header " TOKEN_HEADER);
}

/* 401 carries the key `error` that older clients look at (contracts/execd.md 1.3); everything else has the common
 * envelope, which NULL stands for. */
json_t *api_render_error(struct http_req *req, const struct err *err, void *app)
{
    const struct err_row *row = err_classify(err);
    (void)req;
    (void)app;
    if (row->status != 401)
        return NULL;
    return json_pack("{s:s, s:s, s:s+++}", "error", err->text, "code", row->wire, "message",
                     err->text, " [", row->family, "]");
}
