#include "execd/code/context.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/code/context_priv.h"
#include "execd/events/bus.h"
#include "proto/api/errors.h"
#include "proto/base/str.h"

#define START_TAIL_MAX 120 /* bytes of a kernel's own words in an error text of 256 */

static void tell_state(const struct code_context *ctx)
{
    const char *state = ctx->state == CONTEXT_GONE ? "deleted" : code_context_state(ctx);
    events_publish(EVENTS_KERNEL_STATE, json_pack("{s:s,s:s,s:s}", "id", ctx->id, "language",
                                                  ctx->language, "state", state));
}

/* ---- runs --------------------------------------------------------------------------------------- */

static void forget_run(struct code_context *ctx, struct code_run *run)
{
    if (run_failed(run))
        ctx->manager->counts.runs_failed++;
    else
        ctx->manager->counts.runs_ok++;
    run_free(run);
}

static void fail_queue(struct code_context *ctx, const char *ename, const char *evalue,
                       const char *detail)
{
    while (ctx->queue) {
        struct code_run *run = ctx->queue;
        ctx->queue = run_next(run);
        run_fail(run, ename, evalue, detail);
        forget_run(ctx, run);
    }
    ctx->n_queued = 0;
}

static void end_current(struct code_context *ctx)
{
    forget_run(ctx, ctx->current);
    ctx->current = NULL;
    ctx->interrupt_wanted = false;
    (void)event_del(ctx->interrupt_timer); /* cannot fail for an event of ours */
    if (ctx->state == CONTEXT_READY)
        tell_state(ctx);
}

static void fail_runs(struct code_context *ctx, const char *ename, const char *evalue,
                      const char *detail)
{
    if (ctx->current) {
        run_fail(ctx->current, ename, evalue, detail);
        end_current(ctx);
    }
    fail_queue(ctx, ename, evalue, detail);
}

/* After anything that may have moved the current run: interrupts it once it is busy, starts the next when it is
 * over. A run that cannot even be sent ends at once, hence the loop. */
static void context_tick(struct code_context *ctx)
{
    if (ctx->current && ctx->interrupt_wanted && run_is_busy(ctx->current)) {
        ctx->interrupt_wanted = false;
        (void)!kernel_interrupt(ctx->kernel,
                                NULL); /* the timer kills a kernel that does not react */
    }
    if (ctx->current && run_is_done(ctx->current))
        end_current(ctx);
    while (ctx->state == CONTEXT_READY && !ctx->current && ctx->queue) {
        ctx->current = ctx->queue;
        ctx->queue = run_next(ctx->current);
        ctx->n_queued--;
        tell_state(ctx);
        run_begin(ctx->current, ctx->kernel);
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
    context_tick(ctx);
}

void context_free(struct code_context *ctx)
{
    fail_runs(ctx, "KernelDied", "EXECD_001: execd is shutting down", NULL);
    kernel_free(ctx->kernel);
    event_free(ctx->interrupt_timer);
    event_free(ctx->post);
    free(ctx->language);
    free(ctx->cwd);
    free(ctx);
}

/* ---- kernel events ------------------------------------------------------------------------------- */

static void post(struct code_context *ctx)
{
    event_active(ctx->post, EV_TIMEOUT, 0);
}

static void on_kernel_ready(void *arg)
{
    struct code_context *ctx = arg;
    if (ctx->state == CONTEXT_STARTING)
        ctx->state = CONTEXT_READY;
    tell_state(ctx);
    ctx->manager->counts.kernels_started++;
    post(ctx);
    context_tick(ctx);
}

static void on_kernel_reply(void *arg, const struct jmsg *msg)
{
    struct code_context *ctx = arg;
    if (ctx->current)
        run_take_reply(ctx->current, msg);
    context_tick(ctx);
}

static void on_kernel_iopub(void *arg, struct kernel_msg *m)
{
    struct code_context *ctx = arg;
    if (ctx->current)
        run_take(ctx->current, m);
    else
        kernel_msg_free(m);
    context_tick(ctx);
}

static void on_kernel_output_lost(void *arg)
{
    struct code_context *ctx = arg;
    if (ctx->current)
        run_output_lost(ctx->current);
}

/* The reason and the last lines that the kernel wrote, as many as fit. */
static void keep_start_error(struct code_context *ctx, const char *reason, const char *tail)
{
    size_t len = strlen(tail);
    while (len > 0 && strchr("\r\n ", tail[len - 1]))
        len--;
    const char *from = tail;
    while (tail + len - from > START_TAIL_MAX) {
        const char *line = memchr(from, '\n', (size_t)(tail + len - from));
        from = line ? line + 1 : tail + len - START_TAIL_MAX;
    }
    (void)err_set(&ctx->start_err, ERR_KERNEL_UNAVAILABLE, EIO, /* kept, not returned */
                  "EXECD_001: the kernel did not start: %.80s%s%.*s", reason,
                  len ? "; it said: " : "", (int)(tail + len - from), from);
}

static void on_kernel_dead(void *arg, const char *reason)
{
    struct code_context *ctx = arg;
    char evalue[600];
    bool starting = ctx->state == CONTEXT_STARTING;
    const char *tail = kernel_tail(ctx->kernel);
    (void)snprintf(evalue, sizeof(evalue),
                   starting ? "EXECD_001: the kernel did not start: %s"
                            : "EXECD_001: the kernel died: %s",
                   reason); /* cutting is fine */
    fail_runs(ctx, starting ? "KernelStartError" : "KernelDied", evalue, tail);
    if (ctx->state != CONTEXT_GONE)
        ctx->manager->counts.kernels_died++;
    if (starting)
        keep_start_error(ctx, reason, tail);
    if (ctx->state != CONTEXT_GONE) {
        ctx->state = CONTEXT_DEAD;
        tell_state(ctx);
        ctx->state = starting ? CONTEXT_GONE : CONTEXT_DEAD;
    }
    ctx->kernel_ended = true;
    post(ctx);
}

static const struct kernel_ops kernel_callbacks = {
    .on_ready = on_kernel_ready,
    .on_reply = on_kernel_reply,
    .on_iopub = on_kernel_iopub,
    .on_output_lost = on_kernel_output_lost,
    .on_dead = on_kernel_dead,
};

/* ---- life ---------------------------------------------------------------------------------------- */

static void unlink_context(struct code_context *ctx)
{
    struct code_context **at = &ctx->manager->contexts;
    while (*at && *at != ctx)
        at = &(*at)->next;
    if (*at)
        *at = ctx->next;
}

/* Everything that must not happen on somebody's stack. */
static void on_post(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct code_context *ctx = arg;
    if (ctx->kernel_ended) {
        kernel_free(ctx->kernel);
        ctx->kernel = NULL;
        ctx->kernel_ended = false;
    }
    if (ctx->on_ready && ctx->state != CONTEXT_STARTING) {
        code_ready_fn on_ready = ctx->on_ready;
        ctx->on_ready = NULL;
        if (ctx->state == CONTEXT_READY)
            on_ready(ctx->ready_arg, ctx, NULL);
        else
            on_ready(ctx->ready_arg, NULL, &ctx->start_err);
    }
    if (ctx->state == CONTEXT_GONE && !ctx->kernel) {
        void (*on_gone)(void *) = ctx->on_gone;
        void *gone_arg = ctx->gone_arg;
        unlink_context(ctx);
        context_free(ctx);
        if (on_gone)
            on_gone(gone_arg);
    }
}

static void on_interrupt_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct code_context *ctx = arg;
    char reason[96];
    (void)snprintf(reason, sizeof(reason), "killed: it did not react to an interrupt within %d ms",
                   ctx->manager->config.interrupt_grace_ms); /* fits */
    if (ctx->kernel)
        kernel_kill(ctx->kernel, reason);
}

static struct code_context *context_new(struct code_manager *m, const char *language,
                                        const char *cwd)
{
    struct code_context *ctx = xnew(struct code_context);
    ctx->manager = m;
    ids_uuid(ctx->id);
    ctx->language = xstrdup(language);
    ctx->cwd = xstrdup(cwd ? cwd : "");
    ctx->post = event_new(m->base, -1, 0, on_post, ctx);
    ctx->interrupt_timer = evtimer_new(m->base, on_interrupt_timeout, ctx);
    if (!ctx->post || !ctx->interrupt_timer)
        abort(); /* as xmalloc: two small blocks */
    (void)err_set(
        &ctx->start_err, ERR_KERNEL_UNAVAILABLE, ECANCELED,
        "EXECD_001: the context was deleted while its kernel was starting"); /* kept, not returned */
    return ctx;
}

/* The kernelspec for a language; the list in which it lives is the caller's to free. */
static int find_spec(struct code_manager *m, const char *language, struct kernelspecs **ret_specs,
                     const struct kernelspec **ret_spec, struct err *err)
{
    struct kernelspecs *specs = kernelspecs_scan(&m->spec_env);
    const struct kernelspec *spec = kernelspecs_find(specs, language);
    if (!spec) {
        char known[100];
        kernelspecs_languages(specs, known, sizeof(known));
        kernelspecs_free(specs);
        return err_set(err, ERR_KERNELSPEC_NOT_FOUND, ENOENT,
                       "no kernel for language '%.40s' (found: %s); add one as "
                       "/etc/opensandbox/kernelspecs/NAME/kernel.json",
                       language, known);
    }
    *ret_specs = specs;
    *ret_spec = spec;
    return 0;
}

static unsigned count_contexts(const struct code_manager *m)
{
    unsigned n = 0;
    for (const struct code_context *ctx = m->contexts; ctx; ctx = ctx->next)
        n++; /* those that are going away too: their processes are still there */
    return n;
}

static void append_context(struct code_manager *m, struct code_context *ctx)
{
    struct code_context **at = &m->contexts;
    while (*at)
        at = &(*at)->next;
    *at = ctx;
    tell_state(ctx);
}

static int context_create(struct code_manager *m, const char *language, const char *cwd,
                          const struct jmap *envs, struct code_context **ret_ctx, struct err *err)
{
    struct kernelspecs *specs;
    struct kernel_plan plan = {.cwd = cwd, .envs = envs};
    if (count_contexts(m) >= m->config.contexts_max)
        return err_set(err, ERR_TOO_MANY_CONTEXTS, EAGAIN,
                       "%u code contexts at once is the limit: delete one first",
                       m->config.contexts_max);
    int r = find_spec(m, language, &specs, &plan.spec, err);
    if (r < 0)
        return r;
    struct code_context *ctx = context_new(m, language, cwd);
    r = kernel_start(&m->host, &plan, &kernel_callbacks, ctx, &ctx->kernel, err);
    kernelspecs_free(specs);
    if (r < 0) {
        context_free(ctx);
        return r;
    }
    append_context(m, ctx);
    *ret_ctx = ctx;
    return 0;
}

int code_context_create(struct code_manager *m, const char *language, const char *cwd,
                        const struct jmap *envs, code_ready_fn on_ready, void *arg, struct err *err)
{
    struct code_context *ctx;
    int r = context_create(m, language, cwd, envs, &ctx, err);
    if (r < 0)
        return r;
    ctx->on_ready = on_ready;
    ctx->ready_arg = arg;
    return 0;
}

void code_cancel_ready(struct code_manager *m, void *arg)
{
    for (struct code_context *ctx = m->contexts; ctx; ctx = ctx->next)
        if (ctx->ready_arg == arg)
            ctx->on_ready = NULL;
}

void code_context_delete(struct code_context *ctx, void (*on_gone)(void *), void *arg)
{
    ctx->state = CONTEXT_GONE;
    tell_state(ctx);
    ctx->on_gone = on_gone;
    ctx->gone_arg = arg;
    fail_runs(ctx, "ContextDeleted", "the context was deleted", NULL);
    if (ctx->kernel && !ctx->kernel_ended)
        kernel_stop(ctx->kernel);
    post(ctx);
}

/* ---- running ------------------------------------------------------------------------------------- */

/* The living default context of a language; a dead one makes room for a fresh kernel. */
static struct code_context *find_default(struct code_manager *m, const char *language)
{
    struct code_context *ctx = NULL;
    while ((ctx = code_context_next(m, ctx)) &&
           !(ctx->is_default && str_eq_nocase(ctx->language, language)))
        ;
    if (ctx && ctx->state == CONTEXT_DEAD) {
        code_context_delete(ctx, NULL, NULL);
        ctx = NULL;
    }
    return ctx;
}

int code_run(struct code_manager *m, struct code_context *ctx, const char *language,
             const char *code, struct channel **ret_channel, struct err *err)
{
    if (!ctx)
        ctx = find_default(m, language);
    if (!ctx) {
        int r = context_create(m, language, NULL, NULL, &ctx, err);
        if (r < 0)
            return r;
        ctx->is_default = true;
    }
    if (ctx->state == CONTEXT_DEAD)
        return err_set(
            err, ERR_KERNEL_UNAVAILABLE, ESRCH,
            "EXECD_001: the kernel of context %s is dead: delete the context and make a new one",
            ctx->id);
    if (ctx->n_queued >= m->config.queue_max)
        return err_set(err, ERR_OVERLOADED, EAGAIN, "%u runs are waiting in context %s already",
                       ctx->n_queued, ctx->id);
    struct code_run *run = run_new(m->base, &m->config.channel, ctx->id, code, on_run_change, ctx);
    if (!run)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for %zu bytes of code",
                       strlen(code));
    *ret_channel = channel_ref(run_channel(run));
    enqueue(ctx, run);
    return 0;
}

int code_interrupt(struct code_context *ctx, struct err *err)
{
    int grace_ms = ctx->manager->config.interrupt_grace_ms;
    struct timeval grace = {grace_ms / 1000, grace_ms % 1000 * 1000};
    if (ctx->state == CONTEXT_DEAD || ctx->state == CONTEXT_GONE)
        return err_set(err, ERR_KERNEL_UNAVAILABLE, ESRCH, "the kernel of context %s is dead",
                       ctx->id);
    fail_queue(ctx, "ExecutionAborted", "dropped from the queue by an interrupt", NULL);
    if (!ctx->current)
        return 0;
    run_set_interrupted(ctx->current);
    ctx->interrupt_wanted = true;
    if (!evtimer_pending(ctx->interrupt_timer, NULL))
        (void)event_add(ctx->interrupt_timer, &grace); /* fails only when memory is exhausted */
    context_tick(ctx);
    return 0;
}
