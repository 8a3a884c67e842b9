#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execd/config_priv.h"
#include "proto/base/str.h"

#define TOKEN_MAX 4096
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
