/*
 * Who may ask: everybody who carries the token in exactly one header field.
 */
#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "proto/api/errors.h"
#include "proto/http/req.h"

#define TOKEN_HEADER "X-EXECD-ACCESS-TOKEN"

/* Compared as hashes of one length: neither the content nor the length of the token shows in the time taken. */
int api_authorize(struct http_req *req, const struct route *route, void *app, struct err *err)
{
    const struct api *api = app;
    uint8_t presented[SHA256_LEN];
    (void)route;
    if (!api->has_token)
        return 0;
    const char *token = http_req_header(req, TOKEN_HEADER);
    codec_sha256(token != NULL ? token : "", token != NULL ? strlen(token) : 0, presented);
    bool same = codec_equal(presented, api->token_sha256, SHA256_LEN);
    if (same && token != NULL && http_req_header_count(req, TOKEN_HEADER) == 1)
        return 0;
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
