#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "execd/code/connection.h"
#include "execd/code/context_priv.h"
#include "execd/code/memory.h"
#include "execd/code/pool.h"
#include "execd/code/zsock.h"
#include "execd/code/zygote.h"
#include "proto/api/errors.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

/* Defaults of struct code_config. */
#define QUEUE_MAX 128
#define START_MS 30000
#define INTERRUPT_GRACE_MS 5000

/* ---- manager ------------------------------------------------------------------------------------ */

static const char *copy_env(const char *name)
{
    const char *value = getenv(name);
    return value ? xstrdup(value) : NULL;
}

int code_manager_new(struct event_base *base, const struct code_config *config,
                     struct code_manager **ret_manager, struct err *err)
{
    char dir[CONNECTION_PATH_MAX];
    if (config->runtime_dir) {
        int r = connection_choose(config->runtime_dir, dir, err);
        if (r < 0)
            return r;
    }
    struct code_manager *m = xnew(struct code_manager);
    m->base = base;
    m->config = *config;
    m->config.contexts_max = config->contexts_max ? config->contexts_max : CODE_CONTEXTS_MAX;
    m->config.queue_max = config->queue_max ? config->queue_max : QUEUE_MAX;
    m->config.cull_interval_ms =
        config->cull_interval_ms ? config->cull_interval_ms : CODE_CULL_INTERVAL_MS;
    m->config.start_ms = config->start_ms ? config->start_ms : START_MS;
    m->config.interrupt_grace_ms =
        config->interrupt_grace_ms ? config->interrupt_grace_ms : INTERRUPT_GRACE_MS;
    m->runtime_dir = config->runtime_dir ? xstrdup(config->runtime_dir) : NULL;
    m->host = (struct kernel_host){
        .base = base,
        .zcontext = zcontext_new(base),
        .runtime_dir = m->runtime_dir,
        .start_ms = m->config.start_ms,
        .zygotes = config->zygote_off ? NULL : zygotes_new(base, config->preload),
    };
    m->spec_env = (struct kernelspec_env){
        .jupyter_path = copy_env("JUPYTER_PATH"),
        .jupyter_data_dir = copy_env("JUPYTER_DATA_DIR"),
        .home = copy_env("HOME"),
        .path = copy_env("PATH"),
    };
    if (m->host.zygotes && config->pool > 0)
        m->host.pool = pool_new(&m->host, &m->spec_env, (unsigned)config->pool);
    const struct checkpoint_limits limits = {
        .per_context = config->checkpoints_max,
        .bytes = config->checkpoint_bytes ? config->checkpoint_bytes : memory_total() / 4,
    };
    m->checkpoints = checkpoints_new(base, config->workers, &limits);
    *ret_manager = m;
    return 0;
}

const struct run_failure context_shutting_down = {RUN_END_SHUTDOWN, "KernelDied",
                                                  "EXECD_001: execd is shutting down", NULL};

void code_manager_shutdown(struct code_manager *m)
{
    if (!m)
        return;
    m->shutting_down = true;
    for (struct code_context *ctx = m->contexts; ctx; ctx = ctx->next)
        context_fail_runs(ctx, &context_shutting_down);
}

void code_manager_free(struct code_manager *m)
{
    if (!m)
        return;
    while (m->contexts) {
        struct code_context *ctx = m->contexts;
        m->contexts = ctx->next;
        context_free(ctx);
    }
    cull_done(m);
    context_dead_done(m);
    checkpoints_free(m->checkpoints);
    pool_free(m->host.pool);
    zygotes_free(m->host.zygotes);
    zcontext_free(m->host.zcontext);
    free((char *)m->spec_env.jupyter_path);
    free((char *)m->spec_env.jupyter_data_dir);
    free((char *)m->spec_env.home);
    free((char *)m->spec_env.path);
    free(m->runtime_dir);
    free(m);
}

void code_manager_counts(const struct code_manager *m, struct code_counts *ret_counts)
{
    struct code_counts counts = m->counts;
    struct pool_stats pool;
    struct checkpoint_stats copies;
    counts.frames_dropped = m->host.frames_dropped;
    pool_get_stats(m->host.pool, &pool);
    counts.pool_taken = pool.taken;
    counts.pool_ready = pool.ready;
    checkpoints_get_stats(m->checkpoints, &copies);
    counts.checkpoints_made = copies.made;
    counts.checkpoints_evicted = copies.evicted;
    counts.checkpoint_bytes = copies.bytes;
    counts.checkpoints = copies.ready;
    for (const struct code_context *ctx = m->contexts; ctx; ctx = ctx->next) {
        counts.contexts += ctx->state != CONTEXT_GONE;
        counts.busy += ctx->current != NULL;
    }
    *ret_counts = counts;
}

const struct kernel_stats *code_manager_stats(struct code_manager *m)
{
    struct pool_stats pool;
    for (size_t i = 0; i < m->stats.n; i++)
        m->stats.types[i].active = m->stats.types[i].waiting = 0;
    for (const struct code_context *ctx = m->contexts; ctx; ctx = ctx->next)
        kernel_stats_row(&m->stats, ctx->spec)->active +=
            ctx->state != CONTEXT_DEAD && ctx->state != CONTEXT_GONE;
    pool_get_stats(m->host.pool, &pool);
    if (pool.type)
        kernel_stats_row(&m->stats, pool.type)->waiting = pool.ready;
    return &m->stats;
}

/* ---- looking ------------------------------------------------------------------------------------ */

struct code_context *code_context_next(struct code_manager *m, struct code_context *prev)
{
    struct code_context *ctx = prev ? prev->next : m->contexts;
    while (ctx && ctx->state == CONTEXT_GONE)
        ctx = ctx->next;
    return ctx;
}

struct code_context *code_context_find(struct code_manager *m, const char *id)
{
    struct code_context *ctx = NULL;
    while ((ctx = code_context_next(m, ctx)) && strcmp(ctx->id, id) != 0)
        ;
    return ctx;
}

const char *code_context_id(const struct code_context *ctx)
{
    return ctx->id;
}

const char *code_context_language(const struct code_context *ctx)
{
    return ctx->language;
}

bool code_context_speaks(const struct code_context *ctx, const char *language)
{
    return str_eq_nocase(ctx->language, language) || str_eq_nocase(ctx->spec, language) ||
           str_eq_nocase(ctx->spec_language, language);
}

const char *code_context_cwd(const struct code_context *ctx)
{
    return ctx->cwd;
}

enum code_state code_context_state(const struct code_context *ctx)
{
    switch (ctx->state) {
    case CONTEXT_STARTING:
        return CODE_STARTING;
    case CONTEXT_RESTARTING:
        return CODE_RESTARTING;
    case CONTEXT_READY:
        return ctx->current || ctx->client_work || ctx->leftover_busy ? CODE_BUSY : CODE_IDLE;
    case CONTEXT_DEAD:
    case CONTEXT_GONE:
        break;
    }
    return CODE_DEAD;
}

const char *code_state_name(enum code_state state)
{
    static const char *const names[] = {
        [CODE_STARTING] = "starting", [CODE_RESTARTING] = "restarting",
        [CODE_IDLE] = "idle",         [CODE_BUSY] = "busy",
        [CODE_DEAD] = "dead",
    };
    return names[state];
}

const char *code_context_spec(const struct code_context *ctx)
{
    return ctx->spec;
}

int64_t code_context_active_us(const struct code_context *ctx)
{
    return ctx->active_us;
}

/* Of this state of this file. */
static uint64_t mark_of(const struct kernelspec_broken *broken)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)broken->version; /* FNV-1a */
    for (const char *p = broken->file; *p; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(1099511628211);
    return hash;
}

static bool is_told(const struct code_manager *m, uint64_t mark)
{
    for (unsigned i = 0; i < MIN(m->n_told, SPECS_TOLD_MAX); i++)
        if (m->told[i] == mark)
            return true;
    return false;
}

/* Once per change of a file. */
static void tell_broken(struct code_manager *m, const struct kernelspecs *specs)
{
    for (size_t i = 0; i < specs->n_broken; i++) {
        uint64_t mark = mark_of(&specs->broken[i]);
        if (is_told(m, mark))
            continue;
        m->told[m->n_told % SPECS_TOLD_MAX] = mark;
        m->n_told = m->n_told + 1 < 2 * SPECS_TOLD_MAX ? m->n_told + 1 : SPECS_TOLD_MAX;
        log_event(LOG_LEVEL_WARN, "code", "a kernelspec is broken", "file", specs->broken[i].file,
                  "reason", specs->broken[i].why, NULL);
    }
}

struct kernelspecs *code_kernelspecs(struct code_manager *m)
{
    struct kernelspecs *specs = kernelspecs_scan(&m->spec_env);
    tell_broken(m, specs);
    return specs;
}

int code_refuse_spec(const struct kernelspecs *specs, const char *name, bool by_name,
                     struct err *err)
{
    char known[78]; /* beside the rest of the longest text */
    if (specs->is_cut)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the kernelspecs");
    const struct kernelspec_broken *broken = kernelspecs_broken(specs, name);
    if (broken)
        return err_set(err, ERR_KERNEL_UNAVAILABLE, EINVAL, "'%.110s' is broken: %.110s",
                       broken->file, broken->why);
    kernelspecs_known(specs, known, sizeof(known));
    return err_set(err, ERR_KERNELSPEC_NOT_FOUND, ENOENT,
                   "no kernel %s '%.40s' (found: %s; bash and sql need none); " KERNELSPEC_HINT,
                   by_name ? "named" : "for language", name, known);
}

int code_refuse_room(unsigned max, struct err *err)
{
    return err_set(err, ERR_TOO_MANY_CONTEXTS, EAGAIN,
                   "%u code contexts at once is the limit: delete one first", max);
}

bool code_has_language(struct code_manager *m, const char *language)
{
    struct kernelspecs *specs = code_kernelspecs(m);
    bool found = kernelspecs_find(specs, language) != NULL;
    kernelspecs_free(specs);
    return found;
}

const char *code_context_start(const struct code_context *ctx, const char **ret_note)
{
    *ret_note = "";
    return ctx->kernel ? kernel_how(ctx->kernel, ret_note) : "";
}

void code_context_get_details(const struct code_context *ctx, struct code_details *ret_details)
{
    struct leaf_usage usage = {0};
    bool alive = ctx->kernel && !ctx->kernel_ended;
    if (alive)
        kernel_usage(ctx->kernel, &usage);
    *ret_details = (struct code_details){
        .kernel = alive ? kernel_get_info(ctx->kernel) : NULL,
        .created_us = ctx->created_us,
        .active_us = ctx->active_us,
        .queued = ctx->n_queued,
        .memory_now = usage.memory_now,
        .memory_peak = usage.memory_peak,
    };
}
