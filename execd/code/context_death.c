/*
 * Why a kernel died, for whoever asks: kept with its context, with the last words of the kernel.
 *
 * A context whose kernel never got ready mostly goes with it. One that was told to a client before that (keep_dead) stays
 * dead for a while instead, so that the client can ask why; how many do, and for how long, is bounded.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/code/context_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

#define START_TAIL_MAX 120  /* bytes of a kernel's own words in an error text of 256 */
#define LAST_WORDS_MAX 2048 /* bytes of them in an error of Jupyter's */

/* ---- words --------------------------------------------------------------------------------------- */

/* The last lines, as many as fit, without the white space behind them. */
static struct slice last_lines(const char *text, size_t max)
{
    size_t len = strlen(text);
    while (len > 0 && strchr("\r\n ", text[len - 1]))
        len--;
    const char *from = text, *end = text + len;
    while ((size_t)(end - from) > max) {
        const char *line = memchr(from, '\n', (size_t)(end - from));
        from = line ? line + 1 : end - max;
    }
    return (struct slice){from, (size_t)(end - from)};
}

static void keep_start_error(struct code_context *ctx, const char *reason, const char *tail)
{
    struct slice said = last_lines(tail, START_TAIL_MAX);
    (void)err_set(&ctx->start_err, ERR_KERNEL_UNAVAILABLE, EIO, /* kept, not returned */
                  "EXECD_001: the kernel did not start: %.80s%s%.*s", reason,
                  said.len ? "; it said: " : "", (int)said.len, said.ptr);
}

static char *copy_last_words(const char *tail)
{
    struct slice said = last_lines(tail, LAST_WORDS_MAX);
    struct strbuf words;
    strbuf_init(&words, 0);
    strbuf_add_repaired(&words, said.ptr, said.len);
    if (said.len > 0 && strbuf_check(&words) == 0)
        return words.data;
    strbuf_done(&words);
    return NULL;
}

void context_note_death(struct code_context *ctx, bool starting, const char *reason,
                        const char *tail)
{
    context_forget_death(ctx);
    (void)snprintf(ctx->death, sizeof(ctx->death),
                   starting ? "EXECD_001: the kernel did not start: %s"
                            : "EXECD_001: the kernel died: %s",
                   reason); /* cutting is fine */
    ctx->died_at_start = starting;
    ctx->last_words = copy_last_words(tail);
    if (starting)
        keep_start_error(ctx, reason, tail);
}

void context_note_no_start(struct code_context *ctx, const struct err *err)
{
    context_forget_death(ctx);
    ctx->start_err = *err;
    (void)snprintf(ctx->death, sizeof(ctx->death), "%s", err->text); /* fits */
    ctx->died_at_start = true;
}

void context_forget_death(struct code_context *ctx)
{
    ctx->death[0] = '\0';
    free(ctx->last_words);
    ctx->last_words = NULL;
}

bool code_context_death(const struct code_context *ctx, struct code_death *ret_death)
{
    if (!ctx->death[0])
        return false;
    *ret_death = (struct code_death){
        .ename = ctx->died_at_start ? "KernelStartError" : "KernelDied",
        .evalue = ctx->death,
        .last_words = ctx->last_words,
        .at_start = ctx->died_at_start,
    };
    return true;
}

void context_tell_death(const struct code_context *ctx)
{
    const struct code_config *config = &ctx->manager->config;
    struct code_death death;
    if (config->on_death && !ctx->manager->shutting_down && code_context_death(ctx, &death))
        config->on_death(config->death_arg, ctx, &death);
}

/* ---- staying ------------------------------------------------------------------------------------- */

static void let_go(struct code_context *ctx)
{
    ctx->dead_until_ms = 0;
    ctx->gone_reason = "its kernel did not start";
    code_context_delete(ctx, NULL, NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg);

static void arm(struct code_manager *m, int64_t at_ms)
{
    int64_t ms = MAX(at_ms - clock_monotonic_ms(), (int64_t)0);
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    if (!m->dead_timer)
        m->dead_timer = evtimer_new(m->base, on_timer, m);
    if (m->dead_timer)
        (void)event_add(m->dead_timer, &tv); /* fails only when memory is exhausted */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct code_manager *m = arg;
    int64_t now_ms = clock_monotonic_ms(), soonest_ms = INT64_MAX;
    struct code_context *next, *ctx = code_context_next(m, NULL);
    for (; ctx; ctx = next) {
        next = code_context_next(m, ctx);
        if (!code_context_is_kept_dead(ctx))
            continue;
        if (ctx->dead_until_ms <= now_ms)
            let_go(ctx);
        else
            soonest_ms = MIN(soonest_ms, ctx->dead_until_ms);
    }
    if (soonest_ms < INT64_MAX)
        arm(m, soonest_ms);
}

bool code_context_is_kept_dead(const struct code_context *ctx)
{
    return ctx->dead_until_ms > 0;
}

/* Beyond their number the one goes that has been there longest. */
static void trim(struct code_manager *m)
{
    struct code_context *ctx = NULL, *oldest = NULL;
    unsigned n = 0;
    while ((ctx = code_context_next(m, ctx)) != NULL) {
        if (!code_context_is_kept_dead(ctx))
            continue;
        n++;
        if (!oldest || ctx->dead_until_ms < oldest->dead_until_ms)
            oldest = ctx;
    }
    if (n > CODE_DEAD_MAX)
        let_go(oldest);
}

bool context_stay_dead(struct code_context *ctx)
{
    if (ctx->was_ready || !ctx->keep_dead)
        return false;
    ctx->dead_until_ms = clock_monotonic_ms() + CODE_DEAD_MS;
    trim(ctx->manager);
    if (!ctx->manager->dead_timer || !evtimer_pending(ctx->manager->dead_timer, NULL))
        arm(ctx->manager, ctx->dead_until_ms);
    return true;
}

void context_dead_done(struct code_manager *m)
{
    if (m->dead_timer)
        event_free(m->dead_timer);
}
