#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "execd/api/shared.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/http/host.h"
#include "proto/http/resp.h"
#include "proto/http/server.h"

#define CONNECTIONS_MAX 256

const struct route shared_api_routes[] = {
    {"GET", "/list", AUTH_REQUIRED, BODY_NONE, 0, h_shared_list, "Names of the shared files"},
    {"GET", "/read/:filename", AUTH_REQUIRED, BODY_NONE, 0, h_shared_read, "Read a shared file"},
    {"POST", "/upload", AUTH_REQUIRED, BODY_STREAMED, 0, h_shared_upload, "Write a shared file"},
    {"PUT", "/overwrite/:filename", AUTH_REQUIRED, BODY_STREAMED, 0, h_shared_overwrite,
     "Write a shared file under a name"},
    {"DELETE", "/delete/:filename", AUTH_REQUIRED, BODY_NONE, 0, h_shared_delete,
     "Delete a shared file"},
};
const size_t n_shared_api_routes = ARRAY_LEN(shared_api_routes);

struct shared_server {
    struct http_server *http; /* owned */
    struct work_pool *pool;   /* borrowed */
    struct shared_config config;
};

/* Compared as hashes of one length. */
static bool has_token(const struct shared_server *s, struct http_req *req)
{
    const char *token = http_req_header(req, "token");
    uint8_t hash[SHA256_LEN];

    if (token == NULL || http_req_header_count(req, "token") != 1 || !s->config.has_token)
        return false;
    codec_sha256(token, strlen(token), hash);
    return codec_equal(hash, s->config.token_sha256, sizeof(hash));
}

static int authorize(struct http_req *req, const struct route *route, void *app, struct err *err)
{
    const struct shared_server *s = app;

    if (has_token(s, req))
        return 0;
    if (route == NULL || route->handler == h_shared_list || route->handler == h_shared_read)
        return host_check(req, s->config.allowed_origins, err);
    return err_set(err, ERR_WRITE_TOKEN, EACCES,
                   s->config.has_token ? "Not authorized: the header token is missing or wrong"
                                       : "Not authorized: no token for writing was configured");
}

static json_t *render_error(struct http_req *req, const struct err *err, void *app)
{
    const struct err_row *row = err_classify(err);

    (void)req;
    (void)app;
    const char *detail = row->status == 404 ? "File not found" : err->text;
    return json_pack("{s:s, s:s+++, s:s}", "code", row->wire, "message", err->text, " [",
                     row->family, "]", "detail", detail);
}

int shared_server_new(struct event_base *base, struct work_pool *pool,
                      const struct shared_config *config, int *ret_port,
                      struct shared_server **ret_server, struct err *err)
{
    struct shared_server *s = xnew(struct shared_server);
    const struct http_server_config http = {
        .routes = shared_api_routes,
        .n_routes = n_shared_api_routes,
        .app = s,
        .limits = {.conns_max = CONNECTIONS_MAX},
        .authorize = authorize,
        .render_error = render_error,
    };

    *s = (struct shared_server){.pool = pool, .config = *config};
    int rc = http_server_new(base, &http, &s->http);
    if (rc < 0)
        rc = err_sys(err, 0, -rc, "start the file server");
    if (rc == 0)
        rc = http_server_listen(s->http, config->listen, ret_port, err);
    if (rc < 0) {
        shared_server_free(s);
        return rc;
    }
    *ret_server = s;
    return 0;
}

void shared_server_drain(struct shared_server *s, int grace_ms, void (*on_drained)(void *),
                         void *arg)
{
    http_server_drain(s->http, grace_ms, on_drained, arg);
}

void shared_server_free(struct shared_server *s)
{
    if (s == NULL)
        return;
    http_server_free(s->http);
    free(s);
}

struct work_pool *shared_pool(struct shared_server *s)
{
    return s->pool;
}

const char *shared_root(const struct shared_server *s)
{
    return s->config.root;
}

int shared_open_root(struct shared_server *s, struct err *err)
{
    int fd = open(s->config.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 ? fd
                   : err_sys(err, errno == ENOENT ? ERR_FILE_NOT_FOUND : ERR_FILE_ACCESS, errno,
                             "the shared folder '%.200s'", s->config.root);
}

int shared_check_name(const char *name, struct err *err)
{
    if (name[0] != '\0' && strlen(name) <= NAME_MAX && strchr(name, '/') == NULL &&
        strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        return 0;
    return err_set(err, ERR_INVALID_PATH, EINVAL,
                   "'%.100s' is no name of a file in the shared folder", name);
}
