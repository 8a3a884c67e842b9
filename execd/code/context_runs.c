#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "execd/code/context_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"

/* Bytes of code that wait in one context. */
#define QUEUE_BYTES_MAX (32u << 20)

/* For a kernel that may not even have noticed (contracts/kernels.md 1.2: it would be deaf for ever). */
#define DEAF_GRACE_MS 1000

/* ---- runs --------------------------------------------------------------------------------------- */

static void forget_run(struct code_context *ctx, struct code_run *run)
{
    if (run_failed(run))
        ctx->manager->counts.runs_failed++;
    else
        ctx->manager->counts.runs_ok++;
    kernel_stats_executed(&ctx->manager->stats, ctx->spec, run_start_ns(run), run_failed(run));
    run_free(run);
}

static void fail_queue(struct code_context *ctx, const struct run_failure *failure)
{
    while (ctx->queue) {
        struct code_run *run = ctx->queue;
        ctx->queue = run_next(run);
        run_fail(run, failure);
        forget_run(ctx, run);
    }
    ctx->n_queued = 0;
    ctx->queued_bytes = 0;
}

static void end_current(struct code_context *ctx)
{
    context_touch(ctx);
    forget_run(ctx, ctx->current);
    ctx->current = NULL;
    ctx->interrupt_wanted = false;
    if (!ctx->leftover_busy)
        patience_stop(&ctx->interrupt_grace);
    if (ctx->state == CONTEXT_READY)
        context_tell(ctx);
}

void context_fail_runs(struct code_context *ctx, const struct run_failure *failure)
{
    if (ctx->current) {
        run_fail(ctx->current, failure);
        end_current(ctx);
    }
    fail_queue(ctx, failure);
}

/* ---- interrupts ---------------------------------------------------------------------------------- */

static int grace_ms(const struct code_context *ctx)
{
    int ms = ctx->manager->config.interrupt_grace_ms;
    bool deaf = ctx->kernel && (kernel_quirks(ctx->kernel) & QUIRK_NOT_INTERRUPTIBLE);
    return deaf ? MIN(ms, DEAF_GRACE_MS) : ms;
}

void context_arm_kill(struct code_context *ctx)
{
    if (!evtimer_pending(ctx->interrupt_grace.timer, NULL))
        patience_start(&ctx->interrupt_grace, grace_ms(ctx));
}

void context_interrupt_overdue(struct code_context *ctx)
{
    char reason[96];
    (void)snprintf(reason, sizeof(reason), "killed: it did not react to an interrupt within %d ms",
                   grace_ms(ctx)); /* fits */
    if (ctx->kernel)
        kernel_kill(ctx->kernel, reason);
}

/* The kernel is at something else than the current run, and will come to it by itself. */
static bool is_elsewhere(const struct code_context *ctx)
{
    return (ctx->client_work && !ctx->client_replied) || ctx->leftover_busy;
}

/* Ends a run that the kernel has not begun with: nobody else's work suffers. False: it cannot be taken back. */
static bool give_up(struct code_context *ctx, enum run_end why)
{
    static const struct run_failure cancelled = {RUN_END_CANCELLED, "ExecutionAborted",
                                                 "interrupted while it waited for another's cell",
                                                 NULL},
                                    overdue = {RUN_END_TIMEOUT, "", "", NULL}; /* says how long */
    if (run_is_sent(ctx->current) && !leftovers_add(ctx, run_request(ctx->current)))
        return false;
    run_fail(ctx->current, why == RUN_END_TIMEOUT ? &overdue : &cancelled);
    return true;
}

/* A run at work is interrupted: the kernel is killed when it has not ended by the end of the grace. */
static void interrupt_run(struct code_context *ctx, enum run_end why)
{
    bool waits = !run_is_busy(ctx->current) && is_elsewhere(ctx);
    if (waits && give_up(ctx, why))
        return;
    run_set_interrupted(ctx->current, why);
    ctx->interrupt_wanted = true;
    if (!waits)
        context_arm_kill(ctx);
}

/* ---- course -------------------------------------------------------------------------------------- */

/* Everybody in the queue learns where it stands. */
static void tell_queue(struct code_context *ctx)
{
    unsigned ahead = ctx->current != NULL;
    if (ctx->current)
        channel_set_ahead(run_channel(ctx->current), 0);
    for (struct code_run *run = ctx->queue; run; run = run_next(run))
        channel_set_ahead(run_channel(run), ahead++);
}

/* After anything that may have moved the current run: interrupts it once it is busy, starts the next when it is
 * over. A run that cannot even be sent ends at once, hence the loop. */
void context_tick(struct code_context *ctx)
{
    if (ctx->current && run_is_overdue(ctx->current))
        interrupt_run(ctx, RUN_END_TIMEOUT);
    if (ctx->current && !is_elsewhere(ctx))
        run_send(ctx->current);
    if (ctx->current && ctx->interrupt_wanted && run_is_busy(ctx->current)) {
        ctx->interrupt_wanted = false;
        context_arm_kill(ctx);
        (void)!kernel_interrupt(ctx->kernel,
                                NULL); /* the timer kills a kernel that does not react */
    }
    if (ctx->current && run_is_done(ctx->current))
        end_current(ctx);
    while (ctx->state == CONTEXT_READY && !ctx->current && ctx->queue) {
        ctx->current = ctx->queue;
        ctx->queue = run_next(ctx->current);
        ctx->n_queued--;
        ctx->queued_bytes -= run_size(ctx->current);
        context_touch(ctx);
        context_tell(ctx);
        tell_queue(ctx);
        run_begin(ctx->current, ctx->kernel, is_elsewhere(ctx));
        if (run_is_done(ctx->current))
            end_current(ctx);
    }
}

static void on_run_change(void *arg)
{
    context_tick(arg);
}

static void enqueue(struct code_context *ctx, struct code_run *run)
{
    struct code_run *last = ctx->queue;
    while (last && run_next(last))
        last = run_next(last);
    if (last)
        run_set_next(last, run);
    else
        ctx->queue = run;
    ctx->n_queued++;
    ctx->queued_bytes += run_size(run);
    tell_queue(ctx);
    context_tick(ctx);
}

/* ---- running ------------------------------------------------------------------------------------- */

static struct code_context *default_made_for(struct code_manager *m, const char *language)
{
    struct code_context *ctx = NULL;
    while ((ctx = code_context_next(m, ctx)) &&
           !(ctx->is_default && str_eq_nocase(ctx->language, language)))
        ;
    return ctx;
}

/* Made for another name of the same kernelspec: python and python3 share their variables. */
static struct code_context *default_of_spec(struct code_manager *m, const char *language)
{
    struct kernelspecs *specs = code_kernelspecs(m);
    const struct kernelspec *spec = kernelspecs_find(specs, language);
    struct code_context *ctx = NULL;
    while (spec && (ctx = code_context_next(m, ctx)) &&
           !(ctx->is_default && strcmp(ctx->spec, spec->name) == 0))
        ;
    kernelspecs_free(specs);
    return ctx;
}

/* The living default context of a language; a dead one makes room for a fresh kernel. The files are looked at only
 * where no name says enough. */
static struct code_context *find_default(struct code_manager *m, const char *language)
{
    struct code_context *ctx = default_made_for(m, language);
    if (!ctx)
        ctx = default_of_spec(m, language);
    if (ctx && ctx->state == CONTEXT_DEAD) {
        code_context_delete(ctx, NULL, NULL);
        ctx = NULL;
    }
    return ctx;
}

/* The context of a request, with room in its queue. */
static int find_context(struct code_manager *m, const struct code_run_request *request,
                        struct code_context **ret_ctx, struct err *err)
{
    struct code_context *ctx = request->context;
    if (m->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "execd is shutting down");
    if (!ctx)
        ctx = find_default(m, request->language);
    if (!ctx) {
        struct code_context_options options = {.language = request->language};
        int r = code_context_create(m, &options, NULL, NULL, &ctx, err);
        if (r < 0)
            return r;
        ctx->is_default = true;
    }
    if (ctx->state == CONTEXT_DEAD)
        return err_set(err, ERR_KERNEL_UNAVAILABLE, ESRCH,
                       "EXECD_001: the kernel of context %s is dead: restart or delete the context",
                       ctx->id);
    if (ctx->n_queued >= m->config.queue_max)
        return err_set(err, ERR_OVERLOADED, EAGAIN, "%u runs are waiting in context %s already",
                       ctx->n_queued, ctx->id);
    if (ctx->queued_bytes > QUEUE_BYTES_MAX - MIN(strlen(request->code), (size_t)QUEUE_BYTES_MAX))
        return err_set(err, ERR_OVERLOADED, EAGAIN,
                       "%zu bytes of code are waiting in context %s already: %u is the limit",
                       ctx->queued_bytes, ctx->id, QUEUE_BYTES_MAX);
    *ret_ctx = ctx;
    return 0;
}

int code_run(struct code_manager *m, const struct code_run_request *request,
             struct channel **ret_channel, unsigned *ret_ahead, struct err *err)
{
    struct code_context *ctx;
    int r = find_context(m, request, &ctx, err);
    if (r < 0)
        return r;
    struct code_run *run =
        run_new(m->base, &m->config.channel, ctx->id, request, on_run_change, ctx);
    if (!run)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for %zu bytes of code",
                       strlen(request->code));
    *ret_channel = channel_ref(run_channel(run));
    if (ret_ahead)
        *ret_ahead = ctx->n_queued + (ctx->current != NULL);
    enqueue(ctx, run);
    return 0;
}

int code_interrupt(struct code_context *ctx, struct err *err)
{
    static const struct run_failure dropped = {RUN_END_CANCELLED, "ExecutionAborted",
                                               "dropped from the queue by an interrupt", NULL};
    if (ctx->state == CONTEXT_DEAD || ctx->state == CONTEXT_GONE)
        return err_set(err, ERR_KERNEL_UNAVAILABLE, ESRCH, "the kernel of context %s is dead",
                       ctx->id);
    fail_queue(ctx, &dropped);
    if (!ctx->current)
        return clients_interrupt(ctx, err);
    interrupt_run(ctx, RUN_END_CANCELLED);
    context_tick(ctx);
    return 0;
}

int code_interrupt_kernel(struct code_context *ctx, struct err *err)
{
    bool clients =
        ctx->client_work && !ctx->leftover_busy && (!ctx->current || !run_is_busy(ctx->current));
    return clients ? clients_interrupt(ctx, err) : code_interrupt(ctx, err);
}
