#include <errno.h>

#include "execd/code/connection.h"
#include "execd/config_priv.h"
#include "proto/base/str.h"

#define CULL_IDLE_MAX_MS (INT64_C(8760) * 3600 * 1000) /* a year */
#define POOL_DEFAULT 1
#define POOL_LIMIT 16
#define CHECKPOINTS_DEFAULT 16
#define CHECKPOINTS_LIMIT 64
#define CONTEXTS_LIMIT 1000 /* what sockets and descriptors allow */

static int set_contexts_max(const char *text, struct config *c, struct err *err)
{
    uint32_t n = CODE_CONTEXTS_MAX;
    if (text != NULL && text[0] != '\0' &&
        (str_to_u32(text, &n) < 0 || n == 0 || n > CONTEXTS_LIMIT))
        return err_set(err, 0, EINVAL, "--contexts-max: '%.40s' is not a number from 1 to %d", text,
                       CONTEXTS_LIMIT);
    c->code.contexts_max = n;
    return 0;
}

static int set_pool(const char *text, struct config *c, struct err *err)
{
    uint32_t n = POOL_DEFAULT;
    if (text != NULL && text[0] != '\0' && (str_to_u32(text, &n) < 0 || n > POOL_LIMIT))
        return err_set(err, 0, EINVAL, "--kernel-pool: '%.40s' is not a number from 0 to %d", text,
                       POOL_LIMIT);
    c->code.pool = n;
    return 0;
}

static int set_cull(const struct kernel_flags *f, struct config *c, struct err *err)
{
    const char *text = f->cull_idle;
    int64_t ms = 0;
    if (text != NULL && text[0] != '\0' &&
        (str_to_duration_ms(text, &ms) < 0 || ms < 0 || ms > CULL_IDLE_MAX_MS))
        return err_set(err, 0, EINVAL, "--cull-idle: '%.40s' is not a time up to 8760h (like 30m)",
                       text);
    c->code.cull_idle_ms = ms;
    c->code.cull_interval_ms = CODE_CULL_INTERVAL_MS;
    return config_set_time("cull-interval", f->cull_interval, &c->code.cull_interval_ms, err);
}

static int set_checkpoints(const struct kernel_flags *f, struct config *c, struct err *err)
{
    uint32_t n = CHECKPOINTS_DEFAULT;
    if (f->checkpoints != NULL && f->checkpoints[0] != '\0' &&
        (str_to_u32(f->checkpoints, &n) < 0 || n > CHECKPOINTS_LIMIT))
        return err_set(err, 0, EINVAL, "--checkpoints-max: '%.40s' is not a number from 0 to %d",
                       f->checkpoints, CHECKPOINTS_LIMIT);
    if (f->checkpoint_memory != NULL && f->checkpoint_memory[0] != '\0' &&
        str_to_bytes(f->checkpoint_memory, &c->code.checkpoint_bytes) < 0)
        return err_set(err, 0, EINVAL, "--checkpoint-memory: '%.40s' is not a size like 512Mi",
                       f->checkpoint_memory);
    c->code.checkpoints_max = n;
    return 0;
}

/* Made here, so that one that cannot be used ends the start. */
static int set_kernel_dir(const char *text, struct config *c, struct err *err)
{
    char dir[CONNECTION_PATH_MAX];
    if (text == NULL || text[0] == '\0')
        return 0;
    int result = config_keep_path(c, "", text, &c->code.runtime_dir, err);
    if (result >= 0)
        result = connection_choose(c->code.runtime_dir, dir, err);
    return result < 0 ? err_wrap(err, "--kernel-dir") : 0;
}

int config_set_kernels(const struct kernel_flags *f, struct config *c, struct err *err)
{
    bool zygote = true;
    int result;
    if ((result = set_contexts_max(f->contexts_max, c, err)) < 0 ||
        (result = set_pool(f->pool, c, err)) < 0 || (result = set_cull(f, c, err)) < 0 ||
        (result = set_checkpoints(f, c, err)) < 0 ||
        (result = config_set_time("kernel-start-timeout", f->start, &c->code.start_ms, err)) < 0 ||
        (result = config_set_time("kernel-interrupt-grace", f->interrupt,
                                  &c->code.interrupt_grace_ms, err)) < 0)
        return result;
    if (f->zygote != NULL && str_to_bool(f->zygote, &zygote) < 0)
        return err_set(err, 0, EINVAL, "--zygote: expected on or off, got '%s'", f->zygote);
    c->code.zygote_off = !zygote;
    if (f->preload != NULL)
        c->code.preload = arena_printf(&c->arena, "%s", f->preload);
    return set_kernel_dir(f->dir, c, err);
}
