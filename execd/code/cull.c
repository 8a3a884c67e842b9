/*
 * Contexts that nobody has used for long enough go. Off unless an option or a kernelspec asks for it.
 *
 * Looked at all together, once per interval, which is no longer than the shortest of their times. One that works, waits, starts or has a client connected stays.
 */
#include <event2/event.h>

#include "execd/code/context_priv.h"
#include "proto/base/clock.h"

#define INTERVAL_MIN_MS 100

static bool is_due(const struct code_context *ctx, int64_t now_ms)
{
    enum code_state state = code_context_state(ctx);
    bool quiet = state == CODE_IDLE || state == CODE_DEAD;
    return ctx->cull_idle_ms > 0 && quiet && !ctx->waits && code_context_n_clients(ctx) == 0 &&
           now_ms - ctx->active_ms >= ctx->cull_idle_ms;
}

/* How often there is to look for the sake of this one; 0 = never. */
static int interval_of(const struct code_context *ctx)
{
    if (ctx->cull_idle_ms <= 0)
        return 0;
    return (int)MIN(MAX(ctx->cull_idle_ms, INTERVAL_MIN_MS), ctx->manager->config.cull_interval_ms);
}

static void arm(struct code_manager *m, int ms)
{
    m->cull_every_ms = ms;
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    (void)event_add(m->cull_timer, &tv); /* fails only when memory is exhausted */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct code_manager *m = arg;
    int64_t now_ms = clock_monotonic_ms();
    int every_ms = 0;
    struct code_context *next, *ctx = code_context_next(m, NULL);
    for (; ctx; ctx = next) {
        next = code_context_next(m, ctx);
        if (is_due(ctx, now_ms)) {
            ctx->gone_reason = "culled";
            code_context_delete(ctx, NULL, NULL);
        } else if (interval_of(ctx) > 0 && (every_ms == 0 || interval_of(ctx) < every_ms)) {
            every_ms = interval_of(ctx);
        }
    }
    if (every_ms > 0)
        arm(m, every_ms);
}

void cull_watch(struct code_context *ctx)
{
    struct code_manager *m = ctx->manager;
    int ms = interval_of(ctx);
    if (ms == 0)
        return;
    if (!m->cull_timer)
        m->cull_timer = evtimer_new(m->base, on_timer, m);
    if (m->cull_timer && (!evtimer_pending(m->cull_timer, NULL) || ms < m->cull_every_ms))
        arm(m, ms);
}

void cull_done(struct code_manager *m)
{
    if (m->cull_timer)
        event_free(m->cull_timer);
}
