/*
 * The HTTP API of ms-enclave's SandboxServer (contracts/jupyter.md 3.5), served beside our own, so that its
 * HttpSandboxManager works against this server: what is common to its handlers.
 *
 * Two paths, /health and /sandboxes, exist in both APIs. /health answers what both look for. /sandboxes answers in
 * ms-enclave's way to who comes as its clients do: by the listener made for them, or with their way to give the key.
 * Thread rule: loop thread only.
 */
#pragma once

#include "server/api/handlers.h"
#include "server/enclave/pool.h"
#include "server/enclave/stopped.h"

/* Does the request speak ms-enclave's dialect, be it by its path or by what it carries? */
bool enclave_is_asked(const struct http_req *req);
/* Errors of such requests carry "detail" too. */
json_t *api_render_error(struct http_req *req, const struct err *err, void *app);

/* New references. */
json_t *enclave_info(const struct api *api, const struct sandbox *sb);
json_t *enclave_info_stopped(const struct stopped *s);
json_t *enclave_tools(const struct sandbox *sb);
json_t *enclave_tools_stopped(const struct stopped *s);
json_t *enclave_stats(const struct api *api, struct arena *arena);
bool enclave_status_is_known(const char *status);
/* All sandboxes of this API that match `status` (NULL: all), as an array; NULL: no memory. */
json_t *enclave_list(const struct api *api, const char *status, struct arena *arena);

/* A sandbox of this API; NULL when there is none of that id. */
const struct sandbox *enclave_find(const struct api *api, const char *id);
enum http_result enclave_no_sandbox(struct http_req *req, const char *id);

enum http_result h_enclave_create(struct http_req *req, void *app);
enum http_result h_enclave_list(struct http_req *req, void *app);
enum http_result h_enclave_get(struct http_req *req, void *app);
enum http_result h_enclave_stop(struct http_req *req, void *app);
enum http_result h_enclave_delete(struct http_req *req, void *app);
enum http_result h_enclave_tools(struct http_req *req, void *app);
enum http_result h_enclave_execute(struct http_req *req, void *app);
enum http_result h_enclave_archive(struct http_req *req, void *app);
enum http_result h_enclave_stats(struct http_req *req, void *app);
enum http_result h_enclave_pool_fill(struct http_req *req, void *app);
enum http_result h_enclave_pool_use(struct http_req *req, void *app);
enum http_result h_enclave_options(struct http_req *req, void *app);
