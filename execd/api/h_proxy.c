#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/relay.h"
#include "proto/http/resp.h"
#include "proto/http/uri.h"

/* To our own loopback: accepted or refused at once, unless a queue is full. */
#define CONNECT_MS 3000

/* Our token is nobody else's business; the server's key was dropped before it came here (hardening I03). */
static const char *const dropped_fields[] = {"X-EXECD-ACCESS-TOKEN", "OPEN-SANDBOX-API-KEY", NULL};

static int port_of(const struct http_req *req, uint16_t *ret_port, struct err *err)
{
    const char *text = http_req_param(req, "port");

    if (uri_parse_port(text, ret_port))
        return 0;
    return err_set(err, ERR_BAD_REQUEST, EINVAL,
                   "proxy port '%.16s' is not a number from 1 to 65535", text);
}

/* No port at all matches no row. */
static bool lacks_port(const char *path)
{
    return strcmp(path, "/proxy") == 0 || strcmp(path, "/proxy/") == 0 ||
           str_starts(path, "/proxy//");
}

/* Our own port is us: no second connection, and the same answer, credentials included (contracts/execd.md 1.13). */
int api_rewrite(struct http_req *req, void *app, const char **ret_path, struct err *err)
{
    const struct api *api = app;
    const struct route *route = http_req_route(req);
    uint16_t port;

    if (route == NULL && lacks_port(http_req_raw_path(req)))
        return err_set(err, ERR_BAD_REQUEST, EINVAL, "port is required");
    if (route == NULL || route->handler != h_proxy)
        return 0;
    int r = port_of(req, &port, err);
    if (r < 0 || !http_server_has_port(api->server, port))
        return r;
    *ret_path = arena_printf(http_req_arena(req), "/%s", http_req_param(req, "rest"));
    return *ret_path != NULL
               ? 0
               : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the request path");
}

enum http_result h_proxy(struct http_req *req, void *app)
{
    const char *rest = http_req_param(req, "rest");
    const char *query = http_req_raw_query(req);
    struct err err = {0};
    uint16_t port;

    (void)app;
    if (port_of(req, &port, &err) < 0)
        return http_resp_error(req, &err);
    struct relay_target target = {.address = "127.0.0.1", .port = port};
    struct relay_options options = {
        .target =
            arena_printf(http_req_arena(req), "/%s%s%s", rest, query[0] != '\0' ? "?" : "", query),
        .drop = dropped_fields,
        /* What comes over a Unix socket comes from the server, which has rebuilt these already. */
        .forwarded = strcmp(http_req_peer(req), "unix") != 0,
        .connect_ms = CONNECT_MS,
        .location_prefix = arena_printf(http_req_arena(req), "/proxy/%u", port),
    };
    return relay_start(req, &target, &options);
}
