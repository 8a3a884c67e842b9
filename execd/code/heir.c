/*
 * A rewind: the copy of the checkpoint is ready before the kernel whose place it takes is ended, so that one that fails
 * costs nothing.
 *
 *   starting ──ready──► taken: the old kernel is being ended ──gone──► the context's kernel (heir_take)
 *       └──fails, or the context is restarted or deleted meanwhile──► freed, who asked is told why
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "execd/code/context_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

struct heir {
    struct kernel *kernel; /* owned */
    bool ready, ended, taken;
    char reason[160]; /* why it ended */
    int64_t start_ns; /* monotonic */
    code_ready_fn fn; /* NULL: the asker is gone */
    void *arg;
};

/* ---- kernel events: it says nothing to anybody yet ------------------------------------------------ */

static bool on_message(void *arg, enum kernel_channel channel, const struct jmsg *msg)
{
    (void)arg;
    (void)channel;
    (void)msg;
    return false;
}

static void on_ready(void *arg)
{
    struct code_context *ctx = arg;
    ctx->heir->ready = true;
    context_post(ctx);
}

static void on_reply(void *arg, const struct jmsg *msg)
{
    (void)arg;
    (void)msg;
}

static void on_iopub(void *arg, struct kernel_msg *m)
{
    (void)arg;
    kernel_msg_free(m);
}

static void on_input(void *arg, const struct jmsg *msg)
{
    struct code_context *ctx = arg;
    kernel_answer(ctx->heir->kernel, msg, (struct slice){0});
}

static void on_output_lost(void *arg, const struct jmsg *msg)
{
    (void)arg;
    (void)msg;
}

static void on_dead(void *arg, const char *reason)
{
    struct code_context *ctx = arg;
    ctx->heir->ended = true;
    (void)snprintf(ctx->heir->reason, sizeof(ctx->heir->reason), "%s",
                   reason); /* cutting is fine */
    context_post(ctx);
}

static const struct kernel_ops callbacks = {
    .on_message = on_message,
    .on_ready = on_ready,
    .on_reply = on_reply,
    .on_iopub = on_iopub,
    .on_input = on_input,
    .on_output_lost = on_output_lost,
    .on_dead = on_dead,
};

/* ---- life ---------------------------------------------------------------------------------------- */

int heir_start(struct code_context *ctx, struct checkpoint *c, code_ready_fn fn, void *arg,
               struct err *err)
{
    struct kernelspecs *specs = NULL;
    struct kernel_plan plan = {.cwd = ctx->cwd, .envs = &ctx->envs, .is_copy = true};
    int r = context_find_spec(ctx->manager, ctx->spec, ctx->language, &specs, &plan.spec, err);
    if (r < 0)
        return r;
    plan.copy_fd = checkpoint_socket(c);
    plan.copy_leaf = checkpoint_leaf(c);
    ctx->heir = xnew(struct heir);
    *ctx->heir = (struct heir){.fn = fn, .arg = arg, .start_ns = clock_monotonic_ns()};
    r = kernel_start(&ctx->manager->host, &plan, &callbacks, ctx, &ctx->heir->kernel, err);
    kernelspecs_free(specs);
    if (r < 0)
        free(take_ptr(&ctx->heir));
    return r;
}

void heir_free(struct code_context *ctx)
{
    struct heir *heir = take_ptr(&ctx->heir);
    if (!heir)
        return;
    kernel_free(heir->kernel);
    free(heir);
}

static void answer(struct heir *heir, const struct err *err)
{
    code_ready_fn fn = take_ptr(&heir->fn);
    if (fn)
        fn(heir->arg, NULL, err);
}

static void give_up(struct code_context *ctx, const char *why)
{
    struct heir *heir = ctx->heir;
    struct err err = {0};
    (void)err_set(&err, ERR_CHECKPOINT_REFUSED, EBUSY, "the kernel was not taken back: %s",
                  why); /* kept, not returned */
    answer(heir, &err);
    heir_free(ctx);
}

static void take_over(struct code_context *ctx)
{
    struct heir *heir = ctx->heir;
    struct err err = {0};
    heir->taken = true;
    if (context_restart(ctx, true, heir->fn, heir->arg, &err) >= 0) {
        heir->fn = NULL; /* told by the context */
        return;
    }
    answer(heir, &err);
    heir_free(ctx);
}

/* Why it is not to be the context's kernel; NULL: nothing is in the way so far. */
static const char *find_obstacle(const struct code_context *ctx)
{
    const struct heir *heir = ctx->heir;
    if (ctx->state == CONTEXT_GONE)
        return "the context is being deleted";
    if (heir->taken)
        return ctx->state == CONTEXT_RESTARTING ? NULL : "the old one cannot be ended";
    if (ctx->state == CONTEXT_RESTARTING)
        return "it was restarted meanwhile";
    return heir->ended ? heir->reason : NULL;
}

void heir_tend(struct code_context *ctx)
{
    const char *why = ctx->heir ? find_obstacle(ctx) : NULL;
    if (why)
        give_up(ctx, why);
    else if (ctx->heir && ctx->heir->ready && !ctx->heir->taken)
        take_over(ctx);
}

struct kernel *heir_take(struct code_context *ctx, const char **ret_death)
{
    struct heir *heir = ctx->heir;
    ctx->start_ns = heir->start_ns;
    *ret_death = heir->ended ? heir->reason : NULL;
    return take_ptr(&heir->kernel);
}

void heir_cancel(struct code_context *ctx, const void *arg)
{
    if (ctx->heir && ctx->heir->arg == arg)
        ctx->heir->fn = NULL;
}
