#include <string.h>

#include "proto/api/errors.h"
#include "proto/http/relay.h"
#include "proto/http/uri.h"
#include "server/api/handlers.h"
#include "server/api/ports.h"

/* Never passed on: our own key, and what upstream withholds from sandboxes (contracts/server.md 1.11). */
static const char *const dropped_fields[] = {"OPEN-SANDBOX-API-KEY", "Authorization", "Cookie",
                                             NULL};
/* X-API-Key is a common name: it is passed on unless it was our key. */
static const char *const dropped_with_key[] = {"OPEN-SANDBOX-API-KEY", "X-API-Key", "Authorization",
                                               "Cookie", NULL};

/* What execd sees: its own API for its own port, else its /proxy route (contracts/execd.md 1.13). */
static const char *backend_path(struct http_req *req, uint16_t port)
{
    const char *rest = http_req_param(req, "rest");
    const char *query = http_req_raw_query(req);
    struct arena *arena = http_req_arena(req);

    if (rest == NULL)
        rest = "";
    if (port == EXECD_PORT)
        return arena_printf(arena, "/%s%s%s", rest, query[0] != '\0' ? "?" : "", query);
    return arena_printf(arena, "/proxy/%u/%s%s%s", port, rest, query[0] != '\0' ? "?" : "", query);
}

enum http_result h_proxy(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    const struct sandbox *sb = lifecycle_find(api->lifecycle, id);
    struct relay_target target = {0};
    char token[TOKEN_TEXT_SIZE];
    uint16_t port;

    if (sb == NULL)
        return h_no_sandbox(req, id);
    if (!uri_parse_port(http_req_param(req, "port"), &port))
        return http_resp_fail(req, ERR_INVALID_PORT, "port '%.16s' is not a number from 1 to 65535",
                              http_req_param(req, "port"));
    if (sb->state != SANDBOX_RUNNING)
        return http_resp_fail(req, ERR_SANDBOX_NOT_RUNNING, "Sandbox %s is %s: %s", sb->id,
                              sandbox_state_name(sb->state),
                              sb->message != NULL ? sb->message : "");
    if (lifecycle_execd_target(api->lifecycle, sb, &target, http_req_arena(req)) < 0)
        return http_resp_fail(req, ERR_BACKEND_CONNECTION_FAILED, "Sandbox %s has no address",
                              sb->id);

    /* Whoever holds the server's key may do in the sandbox what its token allows. */
    const char *const with_token[][2] = {{"X-EXECD-ACCESS-TOKEN", token}, {NULL, NULL}};
    bool vouch = api_key_given(api, req);
    if (vouch)
        lifecycle_token(api->lifecycle, sb, token);
    struct relay_options options = {
        .target = backend_path(req, port),
        .drop = vouch ? dropped_with_key : dropped_fields,
        .add = vouch ? with_token : NULL,
        .location_prefix = arena_printf(
            http_req_arena(req), "%s/sandboxes/%s/proxy/%u",
            strncmp(http_req_raw_path(req), "/v1/", 4) == 0 ? "/v1" : "", sb->id, port),
        .forwarded = true,
    };
    enum http_result result = relay_start(req, &target, &options);
    explicit_bzero(token, sizeof(token));
    return result;
}
