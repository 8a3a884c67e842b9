#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/config_priv.h"
#include "proto/base/str.h"

#define TOKEN_MAX 4096
#define SHARED_ROOT "/data/shared"
#define KERNEL_NAME_MAX 64

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

/* A folder that was named and is missing is a mistake, to be told before anybody connects. */
static int keep_folder(struct config *c, const char *option, const char *path,
                       const char **ret_kept, struct err *err)
{
    struct stat st;
    int result = config_keep_path(c, "", path, ret_kept, err);
    if (result < 0)
        return result;
    if (stat(*ret_kept, &st) < 0)
        return err_sys(err, 0, errno, "%s: '%.150s'", option, *ret_kept);
    return S_ISDIR(st.st_mode)
               ? 0
               : err_set(err, 0, ENOTDIR, "%s: '%.150s' is no folder", option, *ret_kept);
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
        result = keep_folder(c, "--gateway-root", f->root, &g->root, err);
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
    bool named =
        f->root != NULL && f->root[0] != '\0'; /* its own may be made later, by hand or a hook */
    const char *root = named ? f->root : SHARED_ROOT;
    s->allowed_origins = c->allowed_origins;
    if (f->token != NULL && f->token[0] != '\0') {
        codec_sha256(f->token, strlen(f->token), s->token_sha256);
        s->has_token = true;
        config_wipe(f->token);
    }
    if (f->listen == NULL || f->listen[0] == '\0')
        return 0;
    int result = config_keep_where(c, "--file-server", f->listen, &s->listen, err);
    if (result == 0)
        result = check_shared(c, f->open, err);
    if (result == 0)
        result = named ? keep_folder(c, "--file-server-root", root, &s->root, err)
                       : config_keep_path(c, "", root, &s->root, err);
    return result;
}
