#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "execd/config_priv.h"
#include "proto/base/str.h"
#include "proto/http/address.h"

int config_keep_where(struct config *c, const char *option, const char *where,
                      const char **ret_kept, struct err *err)
{
    static const char unix_prefix[] = "unix:";
    struct http_address address;
    int result = 0;
    if (str_starts(where, unix_prefix))
        result = config_keep_path(c, unix_prefix, where + strlen(unix_prefix), ret_kept, err);
    else if ((*ret_kept = arena_printf(&c->arena, "%s", where)) == NULL)
        result = err_set(err, 0, ENOMEM, "out of memory");
    if (result == 0)
        result = http_address_parse(*ret_kept, &address, err);
    return result < 0 ? err_wrap(err, "%s", option) : 0;
}

/* A listening socket that whoever started us made: nobody inside ever had a name for it. */
static int set_listen_fd(const char *value, struct config *c, struct err *err)
{
    uint32_t number;
    if (str_to_u32(value + strlen("fd:"), &number) < 0 || number < 3 || number > INT_MAX)
        return err_set(err, 0, EINVAL, "--listen: '%.40s' is not fd:N with N from 3 on", value);
    if (c->listen_fd >= 0)
        return err_set(err, 0, EINVAL, "--listen: only one descriptor can be handed over");
    c->listen_fd = (int)number;
    return 0;
}

int config_add_listen(struct config *c, const char *where, struct err *err)
{
    if (str_starts(where, "fd:"))
        return set_listen_fd(where, c, err);
    if (c->n_listen == CONFIG_LISTEN_MAX)
        return err_set(err, 0, EINVAL, "--listen: more than %d listeners", CONFIG_LISTEN_MAX);
    return config_keep_where(c, "--listen", where, &c->listen[c->n_listen++], err);
}

int config_add_gateway_listen(struct config *c, const char *where, struct err *err)
{
    struct gateway_config *g = &c->gateway;
    if (g->n_listen == CONFIG_GATEWAY_LISTEN_MAX)
        return err_set(err, 0, EINVAL, "--gateway-listen: more than %d listeners",
                       CONFIG_GATEWAY_LISTEN_MAX);
    return config_keep_where(c, "--gateway-listen", where, &g->listen[g->n_listen++], err);
}

int config_set_inner(struct config *c, const char *given, struct err *err)
{
    const char *port = getenv("JUPYTER_PORT");
    uint32_t number;
    if (given[0] != '\0')
        return config_keep_where(c, "--inner-listen", given, &c->inner_listen, err);
    if (port == NULL || str_to_u32(port, &number) < 0 || number == 0 || number > UINT16_MAX)
        port = INNER_PORT;
    c->inner_listen = arena_printf(&c->arena, INNER_HOST ":%s", port);
    return c->inner_listen != NULL ? 0 : err_set(err, 0, ENOMEM, "out of memory");
}

bool config_is_exposed(const char *where)
{
    struct http_address address;
    return http_address_parse(where, &address, NULL) < 0 || !http_address_is_local(&address);
}

int config_check_exposure(const struct config *c, struct err *err)
{
    const char *exposed = c->listen_fd >= 0                      ? "an inherited socket"
                          : c->n_listen == 0 && !c->gateway_only ? "every address"
                                                                 : NULL;
    for (size_t i = 0; i < c->n_listen && exposed == NULL; i++)
        if (config_is_exposed(c->listen[i]))
            exposed = c->listen[i];
    if (exposed == NULL || c->has_token || c->insecure)
        return 0;
    return err_set(err, 0, EPERM,
                   "refusing to serve on %.60s without a token: give --access-token-sha256 HEX "
                   "(or EXECD_TOKEN_SHA256), listen on 127.0.0.1 or unix:PATH, or say --insecure",
                   exposed);
}
