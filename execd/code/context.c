#include "execd/code/context.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/code/context_priv.h"
#include "execd/events/bus.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

void context_tell(const struct code_context *ctx)
{
    const char *state =
        ctx->state == CONTEXT_GONE ? "deleted" : code_state_name(code_context_state(ctx));
    const char *reason = ctx->state == CONTEXT_DEAD ? ctx->death : ctx->gone_reason;
    events_publish(EVENTS_KERNEL_STATE, json_pack("{s:s,s:s,s:s,s:s*}", "id", ctx->id, "language",
                                                  ctx->language, "state", state, "reason", reason));
}

void context_touch(struct code_context *ctx)
{
    ctx->active_us = clock_wall_us();
    ctx->active_ms = clock_monotonic_ms();
}

static void drop_waits(struct code_context *ctx, const void *arg)
{
    for (struct ready_wait **at = &ctx->waits; *at;) {
        struct ready_wait *wait = *at;
        if (arg && wait->arg != arg) {
            at = &wait->next;
            continue;
        }
        *at = wait->next;
        free(wait);
    }
}

void context_free(struct code_context *ctx)
{
    context_fail_runs(ctx, &context_shutting_down);
    clients_end(ctx);
    heir_free(ctx);
    kernel_free(ctx->kernel);
    patience_done(&ctx->interrupt_grace);
    if (ctx->post)
        event_free(ctx->post);
    drop_waits(ctx, NULL);
    context_forget_death(ctx);
    arena_done(&ctx->arena);
    free(ctx);
}

/* ---- kernel events ------------------------------------------------------------------------------- */

void context_post(struct code_context *ctx)
{
    event_active(ctx->post, EV_TIMEOUT, 0);
}

static bool on_kernel_message(void *arg, enum kernel_channel channel, const struct jmsg *msg)
{
    return clients_take(arg, channel, msg);
}

static bool is_starting(const struct code_context *ctx)
{
    return ctx->state == CONTEXT_STARTING ||
           (ctx->state == CONTEXT_RESTARTING && !ctx->restart_wanted);
}

static void on_kernel_ready(void *arg)
{
    struct code_context *ctx = arg;
    if (is_starting(ctx))
        ctx->state = CONTEXT_READY;
    ctx->was_ready = true;
    context_touch(ctx);
    context_tell(ctx);
    ctx->manager->counts.kernels_started++;
    kernel_stats_started(&ctx->manager->stats, ctx->spec, ctx->start_ns);
    context_post(ctx);
    context_tick(ctx);
}

static void on_kernel_reply(void *arg, const struct jmsg *msg)
{
    struct code_context *ctx = arg;
    leftovers_take_reply(ctx, msg);
    if (ctx->current)
        run_take_reply(ctx->current, msg);
    context_tick(ctx);
}

static void on_kernel_iopub(void *arg, struct kernel_msg *m)
{
    struct code_context *ctx = arg;
    leftovers_take(ctx, m);
    if (ctx->current)
        run_take(ctx->current, m);
    else
        kernel_msg_free(m);
    context_tick(ctx);
}

/* Answered by what the current run was given for it; else with an empty line, so that the kernel does not wait for
 * ever where nobody can answer. */
static void on_kernel_input(void *arg, const struct jmsg *msg)
{
    struct code_context *ctx = arg;
    if (!ctx->current || !run_answer(ctx->current, msg))
        kernel_answer(ctx->kernel, msg, (struct slice){0});
}

/* Runs have no use for buffers: a message without them is whole to a run. */
static void on_kernel_output_lost(void *arg, const struct jmsg *msg)
{
    struct code_context *ctx = arg;
    if (ctx->current && !msg)
        run_output_lost(ctx->current);
    if (!msg)
        clients_check_work(ctx);
    clients_tell_lost(ctx, msg);
}

/* The context is dead with it. */
static void lose_kernel(struct code_context *ctx, const char *reason)
{
    bool starting = is_starting(ctx);
    const char *tail = kernel_tail(ctx->kernel);
    context_note_death(ctx, starting, reason, tail);
    struct run_failure failure = {RUN_END_KERNEL_DIED, "KernelDied", ctx->death, tail};
    if (starting) {
        failure.end = RUN_END_NOT_STARTED;
        failure.ename = "KernelStartError";
    } else if (kernel_was_oom(ctx->kernel)) {
        failure.end = RUN_END_OOM;
    }
    context_fail_runs(ctx, &failure);
    ctx->manager->counts.kernels_died++;
    if (starting)
        kernel_stats_row(&ctx->manager->stats, ctx->spec)->n_not_started++;
    bool never_lived = ctx->state == CONTEXT_STARTING;
    ctx->state = CONTEXT_DEAD;
    context_tell(ctx);
    context_tell_death(ctx);
    if (!context_stay_dead(ctx) && never_lived)
        ctx->state = CONTEXT_GONE;
}

/* The kernel of a restart goes to make room, and that of a dead context was given up before; any other end is a death. */
static void on_kernel_dead(void *arg, const char *reason)
{
    struct code_context *ctx = arg;
    ctx->kernel_ended = true;
    context_post(ctx);
    if (ctx->state != CONTEXT_GONE && ctx->state != CONTEXT_DEAD && !ctx->restart_wanted)
        lose_kernel(ctx, reason);
}

static int refuse_stuck(struct err *err)
{
    return err_set(err, ERR_KERNEL_UNAVAILABLE, EBUSY,
                   "EXECD_001: the old kernel was killed and is not dead yet: the system holds one "
                   "of its processes");
}

/* With all that came while the old kernel went. */
static void fail_restart(struct code_context *ctx, const struct err *err)
{
    context_note_no_start(ctx, err);
    struct run_failure failure = {RUN_END_NOT_STARTED, "KernelStartError", ctx->death, NULL};
    context_fail_runs(ctx, &failure);
    ctx->state = CONTEXT_DEAD;
    context_tell(ctx);
    context_tell_death(ctx);
}

/* Who waits for its end is told; the kernel stays ours until it can die. A deletion waits on by itself. */
static void on_kernel_stuck(void *arg, const char *reason)
{
    struct code_context *ctx = arg;
    if (ctx->state == CONTEXT_GONE)
        return;
    context_post(ctx);
    if (!ctx->restart_wanted) {
        lose_kernel(ctx, reason);
        return;
    }
    struct err err = {0};
    ctx->restart_wanted = false;
    (void)refuse_stuck(&err); /* kept, not returned */
    fail_restart(ctx, &err);
}

static const struct kernel_ops kernel_callbacks = {
    .on_message = on_kernel_message,
    .on_ready = on_kernel_ready,
    .on_reply = on_kernel_reply,
    .on_iopub = on_kernel_iopub,
    .on_input = on_kernel_input,
    .on_output_lost = on_kernel_output_lost,
    .on_stuck = on_kernel_stuck,
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

static void forget_requests(struct code_context *ctx)
{
    ctx->client_work = 0;
    ctx->client_interrupt = false;
    leftovers_forget(ctx);
    ctx->failing[0] = '\0';
}

static int start_kernel(struct code_context *ctx, const struct kernelspec *spec, struct err *err)
{
    if (ctx->manager->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "execd is shutting down");
    struct kernel_plan plan = {.spec = spec, .cwd = ctx->cwd, .envs = &ctx->envs};
    ctx->start_ns = clock_monotonic_ns();
    forget_requests(ctx);
    int r = context_use_origin(ctx, &plan, err);
    return r < 0 ? r
                 : kernel_start(&ctx->manager->host, &plan, &kernel_callbacks, ctx, &ctx->kernel,
                                err);
}

int context_find_spec(struct code_manager *m, const char *name, const char *language,
                      struct kernelspecs **ret_specs, const struct kernelspec **ret_spec,
                      struct err *err)
{
    struct kernelspecs *specs = code_kernelspecs(m);
    const struct kernelspec *spec =
        name ? kernelspecs_named(specs, name) : kernelspecs_find(specs, language);
    if (!spec) {
        int r = code_refuse_spec(specs, name ? name : language, name != NULL, err);
        kernelspecs_free(specs);
        return r;
    }
    *ret_specs = specs;
    *ret_spec = spec;
    return 0;
}

static void inherit(struct code_context *ctx)
{
    const char *death;
    forget_requests(ctx);
    ctx->kernel = heir_take(ctx, &death);
    kernel_hand_over(ctx->kernel, &kernel_callbacks, ctx);
    if (death)
        on_kernel_dead(ctx, death);
    else
        on_kernel_ready(ctx);
    heir_free(ctx);
}

/* The old kernel is gone. */
static void start_again(struct code_context *ctx)
{
    struct kernelspecs *specs = NULL;
    const struct kernelspec *spec = NULL;
    struct err err = {0};
    ctx->restart_wanted = false;
    if (ctx->heir) {
        inherit(ctx);
        return;
    }
    int r = context_find_spec(ctx->manager, ctx->spec, ctx->language, &specs, &spec, &err);
    if (r >= 0)
        r = start_kernel(ctx, spec, &err);
    kernelspecs_free(specs);
    if (r >= 0)
        return;
    fail_restart(ctx, &err);
    (void)context_stay_dead(ctx); /* it stays in any case */
}

/* New waits may come while these are called. */
static void call_waits(struct code_context *ctx)
{
    struct ready_wait *waits = ctx->waits;
    bool ready = ctx->state == CONTEXT_READY;
    ctx->waits = NULL;
    while (waits) {
        struct ready_wait *wait = waits;
        waits = wait->next;
        if (wait->fn)
            wait->fn(wait->arg, ready ? ctx : NULL, ready ? NULL : &ctx->start_err);
        free(wait);
    }
}

/* Everything that must not happen on somebody's stack. */
static void on_post(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct code_context *ctx = arg;
    heir_tend(ctx);
    if (ctx->kernel_ended) {
        kernel_free(ctx->kernel);
        ctx->kernel = NULL;
        ctx->kernel_ended = false;
    }
    if (ctx->restart_wanted && !ctx->kernel && ctx->state == CONTEXT_RESTARTING)
        start_again(ctx);
    clients_tell(ctx);
    if (ctx->state != CONTEXT_STARTING && ctx->state != CONTEXT_RESTARTING)
        call_waits(ctx);
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
    if (patience_is_over(&ctx->interrupt_grace))
        context_interrupt_overdue(ctx);
}

/* Copies into the context's arena; false without memory. */
static bool keep_options(struct code_context *ctx, const struct code_context_options *options,
                         const struct kernelspec *spec)
{
    const char *language = options->language ? options->language : spec->language;
    const char *cwd = options->cwd ? options->cwd : "";
    size_t n = options->envs ? options->envs->n : 0;
    struct arena *arena = &ctx->arena;
    ctx->language = arena_strndup(arena, language, strlen(language));
    ctx->spec = arena_strndup(arena, spec->name, strlen(spec->name));
    ctx->spec_language = arena_strndup(arena, spec->language, strlen(spec->language));
    ctx->cwd = arena_strndup(arena, cwd, strlen(cwd));
    ctx->envs.items = arena_alloc(arena, (n + 1) * sizeof(struct jpair));
    ctx->cull_idle_ms = spec->metadata.has_cull_idle_timeout
                            ? spec->metadata.cull_idle_timeout * 1000
                            : ctx->manager->config.cull_idle_ms;
    bool good = ctx->language && ctx->spec && ctx->spec_language && ctx->cwd && ctx->envs.items;
    for (size_t i = 0; good && i < n; i++) {
        const struct jpair *from = &options->envs->items[i];
        struct jpair *to = &ctx->envs.items[ctx->envs.n++];
        to->key = arena_strndup(arena, from->key, strlen(from->key));
        to->value = arena_strndup(arena, from->value, strlen(from->value));
        good = to->key && to->value;
    }
    return good;
}

static struct code_context *context_new(struct code_manager *m, const char *id)
{
    struct code_context *ctx = xnew(struct code_context);
    ctx->manager = m;
    if (id)
        (void)snprintf(ctx->id, sizeof(ctx->id), "%s", id); /* the caller has checked it */
    else
        ids_uuid(ctx->id);
    arena_init(&ctx->arena);
    ctx->created_us = clock_wall_us();
    hold_budget_init(&ctx->hold_budget, clock_monotonic_ms());
    context_touch(ctx);
    ctx->post = event_new(m->base, -1, 0, on_post, ctx);
    (void)err_set(
        &ctx->start_err, ERR_KERNEL_UNAVAILABLE, ECANCELED,
        "EXECD_001: the context was deleted while its kernel was starting"); /* kept, not returned */
    return ctx;
}

static unsigned count_contexts(const struct code_manager *m)
{
    unsigned n = m->config.n_others ? m->config.n_others(m->config.others_arg) : 0;
    for (const struct code_context *ctx = m->contexts; ctx; ctx = ctx->next)
        n += ctx->kernel || !code_context_is_kept_dead(ctx); /* going away: it is still there */
    return n;
}

static void append_context(struct code_manager *m, struct code_context *ctx)
{
    struct code_context **at = &m->contexts;
    while (*at)
        at = &(*at)->next;
    *at = ctx;
    context_tell(ctx);
}

static void add_wait(struct code_context *ctx, code_ready_fn fn, void *arg)
{
    struct ready_wait *wait = xnew(struct ready_wait);
    *wait = (struct ready_wait){.fn = fn, .arg = arg, .next = ctx->waits};
    ctx->waits = wait;
}

static int check_room(const struct code_manager *m, struct err *err)
{
    bool has_room = count_contexts(m) < m->config.contexts_max;
    return has_room ? 0 : code_refuse_room(m->config.contexts_max, err);
}

static int check_options(struct code_manager *m, const struct code_context_options *options,
                         struct err *err)
{
    int r = check_room(m, err);
    if (r < 0)
        return r;
    if (options->id && (!ids_is_uuid(options->id) || code_context_find(m, options->id)))
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "the id of a context must be a UUID that no other has");
    return 0;
}

int code_context_create(struct code_manager *m, const struct code_context_options *options,
                        code_ready_fn on_ready, void *arg, struct code_context **ret_ctx,
                        struct err *err)
{
    struct kernelspecs *specs = NULL;
    const struct kernelspec *spec;
    int r = check_options(m, options, err);
    if (r >= 0)
        r = context_find_spec(m, options->spec, options->language, &specs, &spec, err);
    if (r < 0)
        return r;
    struct code_context *ctx = context_new(m, options->id);
    if (options->origin)
        (void)snprintf(ctx->origin, sizeof(ctx->origin), "%s", options->origin); /* an id of ours */
    ctx->keep_dead = options->keep_dead;
    bool good = patience_init(&ctx->interrupt_grace, m->base, on_interrupt_timeout, ctx);
    if (!good || !ctx->post || !keep_options(ctx, options, spec))
        r = err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a context");
    else
        r = start_kernel(ctx, spec, err);
    kernelspecs_free(specs);
    if (r < 0) {
        context_free(ctx);
        return r;
    }
    add_wait(ctx, on_ready, arg);
    append_context(m, ctx);
    cull_watch(ctx);
    if (ret_ctx)
        *ret_ctx = ctx;
    return 0;
}

int context_restart(struct code_context *ctx, bool rewound, code_ready_fn on_ready, void *arg,
                    struct err *err)
{
    static const struct run_failure restarted = {RUN_END_CANCELLED, "KernelRestarted",
                                                 "the kernel was restarted", NULL};
    if (ctx->state == CONTEXT_GONE)
        return err_set(err, ERR_CONTEXT_NOT_FOUND, ENOENT, "context %s is being deleted", ctx->id);
    if (ctx->state == CONTEXT_DEAD && ctx->kernel && !ctx->kernel_ended)
        return refuse_stuck(err);
    int r = code_context_is_kept_dead(ctx) ? check_room(ctx->manager, err) : 0;
    if (r < 0)
        return r;
    add_wait(ctx, on_ready, arg);
    if (ctx->state == CONTEXT_STARTING || ctx->state == CONTEXT_RESTARTING)
        return 0;
    ctx->dead_until_ms = 0;
    context_forget_death(ctx);
    context_fail_runs(ctx, &restarted);
    ctx->state = CONTEXT_RESTARTING;
    ctx->restart_wanted = true;
    context_tell(ctx);
    if (ctx->kernel && !ctx->kernel_ended && rewound)
        kernel_kill(ctx->kernel, "rewound"); /* what it would say at its end is to be undone */
    else if (ctx->kernel && !ctx->kernel_ended)
        kernel_stop(ctx->kernel);
    context_post(ctx);
    return 0;
}

int code_context_restart(struct code_context *ctx, code_ready_fn on_ready, void *arg,
                         struct err *err)
{
    return context_restart(ctx, false, on_ready, arg, err);
}

void code_cancel_ready(struct code_manager *m, void *arg)
{
    checkpoints_cancel(m->checkpoints, arg);
    for (struct code_context *ctx = m->contexts; ctx; ctx = ctx->next) {
        drop_waits(ctx, arg);
        heir_cancel(ctx, arg);
    }
}

void code_context_delete(struct code_context *ctx, void (*on_gone)(void *), void *arg)
{
    static const struct run_failure deleted = {RUN_END_CANCELLED, "ContextDeleted",
                                               "the context was deleted", NULL};
    ctx->state = CONTEXT_GONE;
    context_tell(ctx);
    ctx->on_gone = on_gone;
    ctx->gone_arg = arg;
    checkpoints_drop_context(ctx->manager->checkpoints, ctx->id);
    context_fail_runs(ctx, &deleted);
    if (ctx->kernel && !ctx->kernel_ended)
        kernel_stop(ctx->kernel);
    context_post(ctx);
}
