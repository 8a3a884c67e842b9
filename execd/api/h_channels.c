/* GET /api/kernels/:kernelId/channels */
#include <errno.h>

#include "execd/api/gateway.h"
#include "execd/gateway/channels_ws.h"
#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"
#include "proto/http/ws_conn.h"

static int read_last_seq(struct http_req *req, uint64_t *value, struct channels_options *options,
                         struct err *err)
{
    const char *text = http_req_query(req, "last_seq", 0);

    if (text == NULL)
        return 0;
    options->last_seq = value;
    if (str_to_u64(text, value) < 0)
        return err_set(err, ERR_INVALID_QUERY, EINVAL,
                       "last_seq: '%.40s' is not a number (0, 1, 2, ...)", text);
    return 0;
}

enum http_result h_kernel_channels(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "kernelId");
    struct code_context *ctx = api->code != NULL ? code_context_find(api->code, id) : NULL;
    struct channels_options options = {.session_id = http_req_query(req, "session_id", 0)};
    uint64_t last_seq = 0;
    struct err err = {0};

    if (api->code == NULL)
        return gateway_no_kernels(req);
    if (ctx == NULL)
        return http_resp_fail(req, ERR_CONTEXT_NOT_FOUND, "Kernel does not exist: %.64s", id);
    if (ws_check_handshake(req, &err) < 0 || read_last_seq(req, &last_seq, &options, &err) < 0 ||
        channels_ws_start(req, api->channels, ctx, &options, &err) < 0)
        return http_resp_error(req, &err);
    return H_DONE;
}
