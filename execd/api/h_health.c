#include "execd/api/api.h"
#include "proto/api/errors.h"
#include "proto/http/resp.h"

/* Every client's readiness probe: 200 without a body, no token needed. */
enum http_result h_ping(struct http_req *req, void *app)
{
    (void)app;
    return http_resp_empty(req, 200);
}

enum http_result h_ready(struct http_req *req, void *app)
{
    const struct api *api = app;
    if (api->is_ready != NULL && !api->is_ready(api->ready_arg))
        return http_resp_fail(req, ERR_SHUTTING_DOWN, "not ready: starting or shutting down");
    return http_resp_empty(req, 200);
}
