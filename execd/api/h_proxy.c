#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/relay.h"
#include "proto/http/resp.h"

/* Our token is nobody else's business; the server's key was dropped before it came here (hardening I03). */
static const char *const dropped_fields[] = {"X-EXECD-ACCESS-TOKEN", "OPEN-SANDBOX-API-KEY", NULL};

static bool parse_port(const char *text, uint16_t *ret_port)
{
    uint64_t port;

    if (text[0] == '0' || str_to_u64(text, &port) < 0 || port < 1 || port > 65535)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

enum http_result h_proxy(struct http_req *req, void *app)
{
    const char *rest = http_req_param(req, "rest");
    const char *query = http_req_raw_query(req);
    uint16_t port;

    (void)app;
    if (!parse_port(http_req_param(req, "port"), &port))
        return http_resp_fail(req, ERR_BAD_REQUEST,
                              "proxy port '%.16s' is not a number from 1 to 65535",
                              http_req_param(req, "port"));
    struct relay_target target = {.address = "127.0.0.1", .port = port};
    struct relay_options options = {
        .target = arena_printf(http_req_arena(req), "/%s%s%s", rest != NULL ? rest : "",
                               query[0] != '\0' ? "?" : "", query),
        .drop = dropped_fields,
        .location_prefix = arena_printf(http_req_arena(req), "/proxy/%u", port),
    };
    return relay_start(req, &target, &options);
}
