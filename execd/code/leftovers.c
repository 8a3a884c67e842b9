/*
 * Runs that were given up after the kernel had been sent them, while it was at somebody else's work.
 *
 * Nothing takes a request back from a kernel. So each is interrupted as soon as the kernel begins with it, and a kernel
 * that does not react is killed as for any run. They are few: behind known work nothing is sent.
 */
#include <stdio.h>
#include <string.h>

#include "execd/code/context_priv.h"

static char *find(struct code_context *ctx, const char *msg_id)
{
    for (unsigned i = 0; i < ctx->n_leftovers; i++)
        if (strcmp(ctx->leftovers[i], msg_id) == 0)
            return ctx->leftovers[i];
    return NULL;
}

bool leftovers_add(struct code_context *ctx, const char *msg_id)
{
    if (ctx->n_leftovers == LEFTOVERS_MAX)
        return false;
    (void)snprintf(ctx->leftovers[ctx->n_leftovers++], JMSG_ID_MAX, "%s", msg_id); /* one length */
    return true;
}

void leftovers_forget(struct code_context *ctx)
{
    ctx->n_leftovers = 0;
    ctx->leftover_busy = false;
    patience_stop(&ctx->interrupt_grace); /* for that kernel */
}

static void begin(struct code_context *ctx)
{
    ctx->leftover_busy = true;
    context_arm_kill(ctx);
    (void)!kernel_interrupt(ctx->kernel, NULL); /* the timer kills a kernel that does not react */
}

static void end(struct code_context *ctx, char *leftover)
{
    memmove(leftover, ctx->leftovers[--ctx->n_leftovers], JMSG_ID_MAX);
    if (ctx->leftover_busy)
        patience_stop(&ctx->interrupt_grace);
    ctx->leftover_busy = false;
}

void leftovers_take(struct code_context *ctx, struct kernel_msg *m)
{
    char *leftover = find(ctx, m->msg.parent_id);
    if (!leftover || strcmp(m->msg.type, "status") != 0 || kernel_msg_load(m) < 0)
        return;
    const char *state = json_string_value(json_object_get(m->msg.content, "execution_state"));
    if (state && strcmp(state, "busy") == 0)
        begin(ctx);
    else if (state && strcmp(state, "idle") == 0)
        end(ctx, leftover);
}

void leftovers_take_reply(struct code_context *ctx, const struct jmsg *msg)
{
    char *leftover = find(ctx, msg->parent_id);
    if (leftover)
        end(ctx, leftover);
}
