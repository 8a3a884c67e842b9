#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execd/config_priv.h"
#include "proto/base/str.h"

#define TOKEN_MAX 4096
#define SHARED_ROOT "/data/shared"
#define KERNEL_NAME_MAX 64

int config_add_gateway_listen(struct config *c, const char *where, struct err *err)
{
    struct gateway_config *g = &c->gateway;
    if (g->n_listen == CONFIG_GATEWAY_LISTEN_MAX)
        return err_set(err, 0, EINVAL, "--gateway-listen: more than %d listeners",
                       CONFIG_GATEWAY_LISTEN_MAX);
    const char **slot = &g->listen[g->n_listen++];
    if (str_starts(where, "unix:"))
        return config_keep_path(c, "unix:", where + strlen("unix:"), slot, err);
    *slot = arena_strndup(&c->arena, where, strlen(where));
    return *slot != NULL ? 0 : err_set(err, 0, ENOMEM, "out of memory");
}

/* The first that is set counts; all are wiped. */
static int set_token(const struct gateway_flags *f, struct gateway_config *g, struct err *err)
{
    const char *given[] = {f->token, getenv("KG_AUTH_TOKEN"), getenv("EG_AUTH_TOKEN"),
                           f->jupyter_token};
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        if (given[i] == NULL || given[i][0] == '\0')
            continue;
        if (strlen(given[i]) > TOKEN_MAX)
            return err_set(err, 0, EINVAL, "--gateway-token: longer than %d bytes", TOKEN_MAX);
        if (!g->has_token)
            codec_sha256(given[i], strlen(given[i]), g->token_sha256);
        g->has_token = true;
        config_wipe(given[i]);
    }
    return 0;
}

bool config_is_exposed(const char *where)
{
    char host[64];
    const char *colon = strrchr(where, ':');
    if (str_starts(where, "unix:"))
        return false;
    size_t len = colon != NULL ? (size_t)(colon - where) : strlen(where);
    if (len >= sizeof(host))
        return true;
    memcpy(host, where, len);
    host[len] = '\0';
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 != 127;
    return strcmp(host, "[::1]") != 0;
}

static int check_exposure(const struct config *c, struct err *err)
{
    const struct gateway_config *g = &c->gateway;
    bool guarded = c->has_token || g->has_token || g->open || c->insecure;
    for (size_t i = 0; i < g->n_listen && !guarded; i++)
        if (config_is_exposed(g->listen[i]))
            return err_set(err, 0, EPERM,
                           "refusing to serve Jupyter clients on %.60s without a token: give "
                           "--gateway-token TOKEN, or say --gateway-open",
                           g->listen[i]);
    return 0;
}

int config_set_gateway(const struct gateway_flags *f, struct config *c, struct err *err)
{
    struct gateway_config *g = &c->gateway;
    int result = set_token(f, g, err);
    g->open = f->open;
    if (result == 0 && f->root != NULL && f->root[0] != '\0')
        result = config_keep_path(c, "", f->root, &g->root, err);
    if (result < 0)
        return result;
    if (f->default_kernel != NULL && strlen(f->default_kernel) > KERNEL_NAME_MAX)
        return err_set(err, 0, EINVAL, "--default-kernel: longer than %d bytes", KERNEL_NAME_MAX);
    if (f->default_kernel != NULL && f->default_kernel[0] != '\0')
        g->default_kernel = arena_printf(&c->arena, "%s", f->default_kernel);
    c->gateway_only =
        g->n_listen > 0 && c->n_listen == 0 && c->listen_fd < 0 && !c->has_token && !c->insecure;
    return check_exposure(c, err);
}

/* Who may read there needs no token; that it is so on an address that others reach must be meant. */
static int check_shared(const struct config *c, bool open, struct err *err)
{
    const struct shared_config *s = &c->shared;
    if (s->has_token || open || c->insecure || !config_is_exposed(s->listen))
        return 0;
    return err_set(err, 0, EPERM,
                   "refusing to serve files on %.60s without a token: give --file-server-token "
                   "TOKEN (or WRITE_TOKEN), or say --file-server-open",
                   s->listen);
}

int config_set_shared(const struct shared_flags *f, struct config *c, struct err *err)
{
    struct shared_config *s = &c->shared;
    const char *root = f->root != NULL && f->root[0] != '\0' ? f->root : SHARED_ROOT;
    s->allowed_origins = c->allowed_origins;
    if (f->token != NULL && f->token[0] != '\0') {
        codec_sha256(f->token, strlen(f->token), s->token_sha256);
        s->has_token = true;
        config_wipe(f->token);
    }
    if (f->listen == NULL || f->listen[0] == '\0')
        return 0;
    s->listen = arena_printf(&c->arena, "%s", f->listen);
    if (s->listen == NULL)
        return err_set(err, 0, ENOMEM, "out of memory");
    int result = check_shared(c, f->open, err);
    return result < 0 ? result : config_keep_path(c, "", root, &s->root, err);
}

const char *config_inner(struct config *c, const char *given)
{
    const char *port = getenv("JUPYTER_PORT");
    uint32_t number;
    if (given[0] != '\0')
        return arena_printf(&c->arena, "%s", given);
    if (port == NULL || str_to_u32(port, &number) < 0 || number == 0 || number > UINT16_MAX)
        port = INNER_PORT;
    return arena_printf(&c->arena, INNER_HOST ":%s", port);
}
