/*
 * What the files that read execd's configuration share. Private to config*.c.
 */
#pragma once

#include "execd/config.h"

#define INNER_HOST "127.0.0.1"
#define INNER_PORT "44771"

/* Options of the gateway as they were given; NULL = not. */
struct gateway_flags {
    const char *token, *jupyter_token, *root, *default_kernel;
    bool open;
};

/* The same of the file server. */
struct shared_flags {
    const char *listen, *root, *token;
    bool open;
};

/* And of the kernels. */
struct kernel_flags {
    const char *contexts_max, *dir, *start, *interrupt, *zygote, *pool, *checkpoints,
        *checkpoint_memory, *preload, *cull_idle, *cull_interval;
};

/* Makes a path absolute while execd is still where it was started; the result, behind `prefix`, is in the arena. */
int config_keep_path(struct config *c, const char *prefix, const char *path, const char **ret_kept,
                     struct err *err) must_check;
/* Overwrites a secret where it stands in the argument vector or the environment. */
void config_wipe(const char *secret);

/* NULL and "" leave *ret_ms as it is. */
int config_set_time(const char *option, const char *text, int *ret_ms, struct err *err) must_check;

int config_set_kernels(const struct kernel_flags *f, struct config *c, struct err *err) must_check;

/* Of --listen, --gateway-listen, --file-server and --inner-listen (execd/config_listen.c). The address is checked
 * before anybody is asked for a token. */
int config_keep_where(struct config *c, const char *option, const char *where,
                      const char **ret_kept, struct err *err) must_check;
int config_add_listen(struct config *c, const char *where, struct err *err) must_check;
int config_add_gateway_listen(struct config *c, const char *where, struct err *err) must_check;
/* After execd's own token and --insecure were read; decides whether anything else is served. */
int config_set_gateway(const struct gateway_flags *f, struct config *c, struct err *err) must_check;
int config_set_shared(const struct shared_flags *f, struct config *c, struct err *err) must_check;
/* What was given, or the default, whose port JUPYTER_PORT may name. */
int config_set_inner(struct config *c, const char *given, struct err *err) must_check;
/* After everything else: are execd's own listeners guarded? */
int config_check_exposure(const struct config *c, struct err *err) must_check;
