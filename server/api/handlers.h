/*
 * The handlers of the control plane, one file per topic; rows in routes.c.
 * Thread rule: loop thread only. `app` is struct api.
 */
#pragma once

#include "proto/http/resp.h"
#include "server/api/api.h"

/* h_sandboxes.c */
enum http_result h_sandbox_create(struct http_req *req, void *app);
enum http_result h_sandbox_list(struct http_req *req, void *app);
enum http_result h_sandbox_get(struct http_req *req, void *app);
enum http_result h_sandbox_delete(struct http_req *req, void *app);
enum http_result h_sandbox_pause(struct http_req *req, void *app);
enum http_result h_sandbox_resume(struct http_req *req, void *app);
enum http_result h_sandbox_renew(struct http_req *req, void *app);
enum http_result h_sandbox_patch(struct http_req *req, void *app);
/* h_endpoints.c */
enum http_result h_endpoint(struct http_req *req, void *app);
/* h_proxy.c */
enum http_result h_proxy(struct http_req *req, void *app);
/* h_system.c */
enum http_result h_health(struct http_req *req, void *app);
enum http_result h_version(struct http_req *req, void *app);
enum http_result h_metrics(struct http_req *req, void *app);
enum http_result h_client_event(struct http_req *req, void *app);
enum http_result h_templates(struct http_req *req, void *app);
enum http_result h_snapshots(struct http_req *req, void *app);

/* Shared by several: 404 in the contract's words. */
enum http_result h_no_sandbox(struct http_req *req, const char *id);
/* Did the caller name the server's API key? (auth.c) */
bool api_key_given(const struct api *api, struct http_req *req);
