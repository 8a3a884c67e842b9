/*
 * What is common to the routes of the Jupyter gateway: which they are, who may use them, how they answer errors.
 *
 * Their tokens may come by header, as "Authorization: token X" (or Bearer, in any case) or as ?token=X. On a gateway
 * listener (LISTENER_GATEWAY) a token of its own counts beside execd's, or none is asked for where that was
 * configured; all other routes there still want execd's own token. Thread rule: loop thread only.
 * Source: contracts/jupyter.md 2.5, 2.6.
 */
#pragma once

#include "execd/api/api.h"
#include "proto/json/jfield.h"

/* Is it about one of the gateway's routes (route may be NULL: then the path tells)? */
bool gateway_is_asked(const struct http_req *req, const struct route *route);

/* Pages of foreign origins have no business with kernels. -EACCES. */
int gateway_check_origin(const struct http_req *req, const struct api *api,
                         struct err *err) must_check;

/* The token as Jupyter's clients give it; NULL when there is none. */
const char *gateway_token(struct http_req *req);

/* {"code", "reason", "message"}, with 401 also "error". New reference. */
json_t *gateway_render_error(const struct err *err);

/* Decodes a body; no body and `null` count as {}. -EINVAL. */
int gateway_decode(struct http_req *req, const struct jfield *fields, size_t n_fields, void *target,
                   struct err *err) must_check;
/* The kernel that a client is given who names none: is it the one that was configured? If not, that is logged, once. */
void gateway_check_default(struct api *api, const struct kernelspecs *specs);
enum http_result gateway_no_kernels(struct http_req *req);
/* As kernels_start. */
int gateway_start_kernel(struct http_req *req, struct api *api,
                         const struct kernels_request *request, struct code_context **ret_ctx,
                         struct err *err) must_check;
/* Answers 204 when its processes are gone, or as context_delete.h. */
enum http_result gateway_delete_kernel(struct http_req *req, struct code_context *ctx);
