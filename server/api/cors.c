/*
 * ms-enclave's server lets every page read its answers (contracts/jupyter.md 3.5); so do its routes
 * here, where the key is asked for: a page has to be given it. Without a key, whoever connects may do everything, and a
 * page of somebody else connects with the user's browser: it is refused, be it by its origin or, where it has made its
 * own name point here, by the name it asks for.
 */
#include "server/api/cors.h"

#include <string.h>

#include "proto/http/host.h"
#include "proto/http/ws_conn.h"
#include "server/api/enclave.h"

#define PREFLIGHT_AGE "600"

/* A preflight carries no key; it names the header that will. */
static bool is_for_enclave(const struct http_req *req)
{
    const char *headers = http_req_header(req, "Access-Control-Request-Headers");

    return enclave_is_asked(req) || (headers != NULL && strcasestr(headers, "x-api-key") != NULL);
}

void cors_decorate(struct http_req *req, const struct api *api)
{
    if (!api->has_key || http_req_header(req, "Origin") == NULL || !is_for_enclave(req))
        return;
    http_resp_header(req, "Access-Control-Allow-Origin", "*");
    if (strcmp(http_req_method(req), "OPTIONS") != 0)
        return;
    http_resp_header(req, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    http_resp_header(req, "Access-Control-Allow-Headers",
                     http_req_header(req, "Access-Control-Request-Headers"));
    http_resp_header(req, "Access-Control-Max-Age", PREFLIGHT_AGE);
}

int cors_check(const struct http_req *req, const struct api *api, struct err *err)
{
    const char *const own[] = {api->public_host, NULL};
    int rc = host_check(req, own, err);

    return rc < 0 ? rc : ws_check_origin(req, NULL, err);
}

enum http_result h_enclave_options(struct http_req *req, void *app)
{
    (void)app;
    return http_resp_empty(req, 200);
}
