/*
 * The file server of the mini sandbox (contracts/jupyter.md 4.5): five routes over one folder that kernels use too, on a
 * listener of its own, so that nothing else of execd is reached there.
 *
 * Reading and listing ask for nothing, as there; writing asks for the header `token`. Without a configured token nothing
 * is written. A name is one segment: no path leads out of the folder, and links in it are not followed.
 * Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/codec.h"
#include "proto/http/route.h"

struct event_base;
struct shared_server;
struct work_pool;

#define SHARED_NAMES_MAX 100000 /* that /list answers */

struct shared_config {
    const char *listen;                 /* ADDR:PORT; NULL: no file server */
    const char *root;                   /* absolute; need not be there yet */
    const char *const *allowed_origins; /* their hosts are served; NULL-terminated, borrowed */
    bool has_token;
    uint8_t token_sha256[SHA256_LEN];
};

extern const struct route shared_api_routes[];
extern const size_t n_shared_api_routes;

int shared_server_new(struct event_base *base, struct work_pool *pool,
                      const struct shared_config *config, int *ret_port,
                      struct shared_server **ret_server, struct err *err) must_check;
/* As http_server_drain. */
void shared_server_drain(struct shared_server *server, int grace_ms, void (*on_drained)(void *),
                         void *arg);
void shared_server_free(struct shared_server *server); /* NULL is fine */

/* Shared by the handlers; `app` is the server. */
struct work_pool *shared_pool(struct shared_server *server);
/* An open descriptor of the folder, the caller's. -errno with err. */
int shared_open_root(struct shared_server *server, struct err *err) must_check;
const char *shared_root(const struct shared_server *server);
/* One segment that stays in the folder. -EINVAL with err. */
int shared_check_name(const char *name, struct err *err) must_check;

enum http_result h_shared_list(struct http_req *req, void *app);
enum http_result h_shared_read(struct http_req *req, void *app);
enum http_result h_shared_upload(struct http_req *req, void *app);
enum http_result h_shared_overwrite(struct http_req *req, void *app);
enum http_result h_shared_delete(struct http_req *req, void *app);
