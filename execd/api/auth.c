/*
 * Who may ask: everybody who carries the token in exactly one header field, or where the gateway's clients put it.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "execd/api/gateway.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/http/host.h"
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

/* Clients of /run_code name their key in Authorization, without a scheme (contracts/jupyter.md 3.5) or with one. */
static const char *token_of_program(struct http_req *req, const struct route *route)
{
    if (route == NULL || route->handler != h_run_code ||
        http_req_header_count(req, "Authorization") != 1)
        return NULL;
    const char *value = http_req_header(req, "Authorization");
    return strncasecmp(value, "Bearer ", 7) == 0 ? value + 7 : value;
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

/* The hashes that open a request, and whether it needs none. On a gateway listener nothing but the gateway's own routes
 * is ever opened by what was configured for the gateway. */
struct rule {
    const uint8_t *hashes[2];
    size_t n;
    bool open;
};

static struct rule rule_for(const struct api *api, const struct http_req *req, bool gateway)
{
    struct rule rule = {.n = 0};
    bool at_gateway = http_req_listener_tag(req) == LISTENER_GATEWAY;
    if (api->has_token)
        rule.hashes[rule.n++] = api->token_sha256;
    if (at_gateway && gateway && api->has_gateway_token)
        rule.hashes[rule.n++] = api->gateway_token_sha256;
    rule.open = !api->has_token && !(at_gateway && (api->has_gateway_token || api->gateway_open));
    if (at_gateway && gateway && api->gateway_open)
        rule.open = true;
    return rule;
}

/* Compared as hashes of one length: neither the content nor the length of the token shows in the time taken. */
static bool is_right(const struct rule *rule, const char *token)
{
    uint8_t presented[SHA256_LEN];
    bool same = false;
    codec_sha256(token != NULL ? token : "", token != NULL ? strlen(token) : 0, presented);
    for (size_t i = 0; i < rule->n; i++)
        same |= codec_equal(presented, rule->hashes[i], SHA256_LEN);
    return same && token != NULL;
}

/* Whoever reaches us may ask; a page of somebody else is not whoever. */
static int admit(const struct http_req *req, const struct api *api, struct err *err)
{
    int result = host_check(req, api->allowed_origins, err);
    return result < 0 ? result : gateway_check_origin(req, api, err);
}

/* Says what would help: each kind of client puts its token elsewhere. */
static int refuse(const struct http_req *req, const struct rule *rule, bool gateway,
                  struct err *err)
{
    if (rule->n == 0 && http_req_listener_tag(req) == LISTENER_GATEWAY)
        return err_set(err, ERR_GATEWAY_ONLY, EACCES,
                       "this listener serves Jupyter's routes only (/api, /kernelspecs, "
                       "/terminals): no token opens others here");
    return err_set(err, ERR_UNAUTHORIZED, EACCES,
                   gateway ? "Unauthorized: invalid or missing token: give ?token=TOKEN, a header "
                             "Authorization: token TOKEN, or a header " TOKEN_HEADER
                           : "Unauthorized: invalid or missing header " TOKEN_HEADER);
}

int api_authorize(struct http_req *req, const struct route *route, void *app, struct err *err)
{
    struct api *api = app;
    bool gateway = gateway_is_asked(req, route);
    int result = gateway ? gateway_check_origin(req, api, err) : 0;
    if (result < 0)
        return result;
    struct rule rule = rule_for(api, req, gateway);
    size_t n = http_req_header_count(req, TOKEN_HEADER);
    const char *token = n > 0     ? http_req_header(req, TOKEN_HEADER)
                        : gateway ? gateway_token(req)
                                  : token_of_page(req, route);
    if (token == NULL)
        token = token_of_program(req, route);
    if (is_right(&rule, token) && n <= 1)
        return 0;
    if (rule.open)
        return admit(req, api, err);
    if (token != NULL && is_guessing(api, req))
        return err_set(err, ERR_TOO_MANY_ATTEMPTS, EACCES,
                       "too many wrong tokens from this address; the right one is still taken");
    return refuse(req, &rule, gateway, err);
}

/* 401 carries the key `error` that older clients look at (contracts/execd.md 1.3); the gateway's routes speak as Jupyter
 * does; everything else has the common envelope, which NULL stands for. */
json_t *api_render_error(struct http_req *req, const struct err *err, void *app)
{
    const struct err_row *row = err_classify(err);
    (void)app;
    if (gateway_is_asked(req, http_req_route(req)))
        return gateway_render_error(err);
    if (row->status != 401)
        return NULL;
    return json_pack("{s:s, s:s, s:s+++}", "error", err->text, "code", row->wire, "message",
                     err->text, " [", row->family, "]");
}
