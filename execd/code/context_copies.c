/* Checkpoints of contexts: make one, go back to it, go on from it elsewhere. */

#include <errno.h>
#include <stdio.h>

#include "execd/code/context_priv.h"
#include "proto/api/errors.h"

static int not_found(const struct code_context *ctx, const char *id, struct err *err)
{
    return err_set(err, ERR_CHECKPOINT_NOT_FOUND, ENOENT,
                   "no checkpoint '%.40s' of this context: %s", id,
                   checkpoint_why_gone(ctx->manager->checkpoints, id));
}

int context_use_origin(struct code_context *ctx, struct kernel_plan *plan, struct err *err)
{
    if (!ctx->origin[0])
        return 0;
    struct checkpoint *c = checkpoint_find(ctx->manager->checkpoints, NULL, ctx->origin);
    if (!c)
        return not_found(ctx, ctx->origin, err);
    plan->is_copy = true;
    plan->copy_fd = checkpoint_socket(c);
    plan->copy_leaf = checkpoint_leaf(c);
    ctx->origin[0] = '\0';
    return 0;
}

int code_context_checkpoint(struct code_context *ctx, code_checkpoint_fn fn, void *arg,
                            struct err *err)
{
    const char *why = ctx->current || ctx->queue || ctx->n_leftovers ? "a run is under way"
                      : ctx->client_work                  ? "a cell of a client is running"
                      : ctx->state != CONTEXT_READY       ? "it is not ready"
                      : !ctx->kernel || ctx->kernel_ended ? "it has ended"
                                                          : NULL;
    if (why)
        return err_set(err, ERR_CHECKPOINT_REFUSED, EBUSY, "the kernel cannot be copied: %s", why);
    return checkpoint_make(ctx->manager->checkpoints, ctx->id, ctx->kernel, fn, arg, err);
}

int code_context_rewind(struct code_context *ctx, const char *checkpoint_id, code_ready_fn on_ready,
                        void *arg, struct err *err)
{
    struct checkpoint *c = checkpoint_find(ctx->manager->checkpoints, ctx->id, checkpoint_id);
    const char *why = ctx->state == CONTEXT_STARTING || ctx->state == CONTEXT_RESTARTING
                          ? "the kernel is starting"
                      : ctx->heir ? "it is being rewound already"
                                  : NULL;
    if (!c)
        return not_found(ctx, checkpoint_id, err);
    if (why)
        return err_set(err, ERR_CHECKPOINT_REFUSED, EBUSY, "%s", why);
    if (ctx->manager->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "execd is shutting down");
    return heir_start(ctx, c, on_ready, arg, err);
}

int code_context_branch(struct code_context *ctx, const char *checkpoint_id, code_ready_fn on_ready,
                        void *arg, struct err *err)
{
    const struct code_context_options options = {.language = ctx->language,
                                                 .spec = ctx->spec,
                                                 .cwd = ctx->cwd,
                                                 .envs = &ctx->envs,
                                                 .origin = checkpoint_id};
    if (!checkpoint_find(ctx->manager->checkpoints, ctx->id, checkpoint_id))
        return not_found(ctx, checkpoint_id, err);
    return code_context_create(ctx->manager, &options, on_ready, arg, NULL, err);
}

int code_checkpoint_delete(struct code_context *ctx, const char *checkpoint_id, struct err *err)
{
    struct checkpoint *c = checkpoint_find(ctx->manager->checkpoints, ctx->id, checkpoint_id);
    if (!c)
        return not_found(ctx, checkpoint_id, err);
    checkpoint_drop(c);
    return 0;
}

json_t *code_context_checkpoints(const struct code_context *ctx)
{
    return checkpoints_json(ctx->manager->checkpoints, ctx->id);
}
