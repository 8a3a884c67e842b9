#include <ctype.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/uri.h"
#include "server/api/handlers.h"
#include "server/api/ports.h"

/* A Host that may stand in front of a path: no blanks, no slashes, nothing to inject. */
static bool host_is_sane(const char *host)
{
    for (const char *p = host; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && strchr(".-_:[]", *p) == NULL)
            return false;
    }
    return host[0] != '\0';
}

enum http_result h_endpoint(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    const char *host = api->public_host != NULL ? api->public_host : http_req_header(req, "Host");
    /* The caller's mount prefix is kept (contracts/v1.1.md 2.7), but not below a fixed public host. */
    bool v1 = str_starts(http_req_raw_path(req), "/v1/") && api->public_host == NULL;
    const struct sandbox *sb = lifecycle_find(api->lifecycle, id);
    char token[TOKEN_TEXT_SIZE];
    uint16_t port;

    if (!uri_parse_port(http_req_param(req, "port"), &port))
        return http_resp_fail(req, ERR_INVALID_PORT, "port '%.16s' is not a number from 1 to 65535",
                              http_req_param(req, "port"));
    if (http_req_query(req, "expires", 0) != NULL)
        return http_resp_fail(req, ERR_API_NOT_SUPPORTED,
                              "signed endpoints need an ingress gateway (kubernetes runtime)");
    if (sb == NULL)
        return h_no_sandbox(req, id);
    if (host == NULL || !host_is_sane(host))
        return http_resp_fail(req, ERR_BAD_REQUEST,
                              "the Host header is needed to name the endpoint");
    const char *endpoint = arena_printf(http_req_arena(req), "%s%s/sandboxes/%s/proxy/%u", host,
                                        v1 ? "/v1" : "", sb->id, port);
    lifecycle_token(api->lifecycle, sb, token);
    json_t *json =
        json_pack("{s:s, s:{s:s}}", "endpoint", endpoint, "headers", "X-EXECD-ACCESS-TOKEN", token);
    explicit_bzero(token, sizeof(token));
    return http_resp_json(req, 200, json);
}
