#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "execd/exec/session_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

static void on_log_settled(void *arg)
{
    struct session_run *run = arg;

    run->stored = true;
}

/* Name and value of each into the run's own memory: they outlive the request. */
static int copy_envs(struct session_run *run, const struct jmap *envs)
{
    run->envs.items = arena_alloc(&run->arena, (envs->n + 1) * sizeof(*run->envs.items));
    if (run->envs.items == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < envs->n; i++) {
        struct jpair *pair = &run->envs.items[i];
        *pair = (struct jpair){arena_printf(&run->arena, "%s", envs->items[i].key),
                               arena_printf(&run->arena, "%s", envs->items[i].value)};
        if (pair->key == NULL || pair->value == NULL)
            return -ENOMEM;
        run->envs.n++;
    }
    return 0;
}

struct session_run *session_run_new(struct session *s, const struct session_run_request *request,
                                    struct err *err)
{
    const struct session_config *config = &s->manager->config;
    struct session_run *run = xnew(struct session_run);
    struct channel_limits limits = {0};

    ids_uuid(run->id);
    run->session = s;
    run->command = xstrdup(request->command);
    run->cwd = request->cwd != NULL ? xstrdup(request->cwd) : NULL;
    run->timeout_ms = request->timeout_ms;
    run->separate = request->separate;
    run->stored = !request->background;
    arena_init(&run->arena);
    if (config->archive != NULL)
        limits.retain = archive_retain(config->archive);
    run->channel = channel_new(s->manager->base, &limits);
    int rc = copy_envs(run, &request->envs);
    run->text = strlen(run->command) + run->arena.used;
    if (rc == 0 && request->background)
        rc = spool_new(s->manager->base, config->pool, run->channel, config->log_max,
                       on_log_settled, run, &run->spool);
    if (rc < 0) {
        (void)err_sys(err, ERR_OUT_OF_MEMORY, -rc, "prepare the run");
        session_run_free(run);
        return NULL;
    }
    if (config->archive != NULL)
        archive_add(config->archive, run->id, run->channel, request->verbatim);
    channel_append_text(run->channel, EVENT_INIT, s->id);
    return run;
}

void session_run_free(struct session_run *run)
{
    if (run == NULL)
        return;
    channel_unref(run->channel);
    spool_release(run->spool);
    arena_done(&run->arena);
    free(run->command);
    free(run->cwd);
    free(run->error);
    free(run);
}

void session_run_enqueue(struct session_run *run)
{
    struct session *s = run->session;

    DL_APPEND(s->queue, run);
    s->n_queued++;
    s->manager->queued_text += run->text;
}

void session_run_dequeue(struct session_run *run)
{
    struct session *s = run->session;

    DL_DELETE(s->queue, run);
    s->n_queued--;
    s->manager->queued_text -= run->text;
}

void session_run_begin(struct session_run *run)
{
    run->started_us = clock_wall_us();
    run->started_ns = clock_monotonic_ns();
    leaf_read_usage(run->session->leaf, &run->before);
}

/* ---- the end ---- */

static const char *reason_of(const struct session_run *run, const struct receipt *r)
{
    static const char *const names[] = {
        [RUN_END_NONE] = "running",
        [RUN_END_EXIT] = "exit",
        [RUN_END_TIMEOUT] = "timeout",
        [RUN_END_INTERRUPTED] = "cancelled",
        [RUN_END_SHELL_GONE] = "exit",
        [RUN_END_DELETED] = "cancelled",
        [RUN_END_RESTARTED] = "cancelled",
        [RUN_END_SHUTDOWN] = "agent_shutdown",
        [RUN_END_SPAWN_FAILED] = "spawn_failed",
    };
    bool natural = run->end == RUN_END_EXIT || run->end == RUN_END_SHELL_GONE;

    if (natural && r->usage.oom_kills > 0 && (run->status == 137 || run->status < 0))
        return "oom";
    if (run->end == RUN_END_SHELL_GONE && run->status < 0)
        return "signal";
    return names[run->end];
}

static void append_receipt(struct session_run *run)
{
    struct receipt r = {.has_exit_code = run->end != RUN_END_SPAWN_FAILED,
                        .exit_code = run->status};
    struct strbuf json;

    if (run->started_ns > 0)
        r.wall_us = (uint64_t)(clock_monotonic_ns() - run->started_ns) / 1000;
    if (run->session->leaf != NULL && run->started_ns > 0) {
        leaf_read_usage(run->session->leaf, &r.usage);
        r.has_usage = r.usage.from_cgroup;
        receipt_subtract(&r, &run->before);
    }
    r.reason = reason_of(run, &r);
    strbuf_init(&json, 0);
    receipt_json(&r, &json);
    if (strbuf_check(&json) == 0)
        channel_append(run->channel, EVENT_RECEIPT, json.data, json.len);
    strbuf_done(&json);
}

/* The words for the first line of the traceback, as commands have them. */
static void describe(const struct session_run *run, const struct exit_status *exit, char *buf,
                     size_t size)
{
    switch (run->end) {
    case RUN_END_TIMEOUT:
        (void)snprintf(buf, size, "timeout after %lld ms", (long long)run->timeout_ms); /* fits */
        break;
    case RUN_END_DELETED:
        (void)snprintf(buf, size, "the session was deleted"); /* fits */
        break;
    case RUN_END_RESTARTED:
        (void)snprintf(buf, size, "the shell was restarted"); /* fits */
        break;
    case RUN_END_SHUTDOWN:
        (void)snprintf(buf, size, "the agent is shutting down"); /* fits */
        break;
    default:
        if (exit != NULL)
            exit_status_text(exit, buf, size);
        else
            (void)snprintf(buf, size, "exit status %d", run->status); /* fits */
    }
}

static void append_shell_end(const struct session_run *run, const struct exit_status *exit)
{
    char json[128];

    int n = snprintf(json, sizeof(json), "{\"state\":\"ended\",\"reason\":\"%s\",\"exit_code\":%d}",
                     exit->signalled ? "signal" : "exit", run->status);
    channel_append(run->channel, EVENT_SESSION, json, (size_t)n);
}

static void append_end(struct session_run *run, const struct exit_status *exit)
{
    const char *own_name = run->session->error_name;
    bool lost = run->end == RUN_END_TIMEOUT || run->end == RUN_END_DELETED ||
                run->end == RUN_END_RESTARTED || run->end == RUN_END_SHUTDOWN ||
                (exit != NULL && exit->signalled) ||
                (own_name != NULL && (exit != NULL || run->end == RUN_END_SPAWN_FAILED));
    char text[EXIT_TEXT_MAX], value[16];

    if (run->status == 0 && !lost) {
        int64_t ns = run->started_ns > 0 ? clock_monotonic_ns() - run->started_ns : 0;
        channel_append_number(run->channel, EVENT_EXECUTION_COMPLETE, ns / 1000000);
        return;
    }
    describe(run, exit, text, sizeof(text));
    (void)snprintf(value, sizeof(value), "%d", lost ? -1 : run->status); /* fits */
    if (run->error == NULL)
        run->error = xstrdup(text);
    const char *traceback[] = {run->error, NULL};
    bool named = lost && own_name != NULL;
    bool told = named || run->end == RUN_END_SPAWN_FAILED;
    channel_append_error(run->channel, named ? own_name : "CommandExecError",
                         told ? run->error : value, traceback);
}

void session_run_close(struct session_run *run, const struct exit_status *exit)
{
    if (run->closed)
        return;
    run->closed = true;
    if (exit != NULL)
        run->status = exit->signalled ? -1 : exit->code;
    if (run->end == RUN_END_NONE)
        run->end = exit != NULL ? RUN_END_SHELL_GONE : RUN_END_EXIT;
    run->finished_us = clock_wall_us();
    if (exit != NULL)
        append_shell_end(run, exit);
    append_receipt(run);
    append_end(run, exit);
    channel_unref(take_ptr(&run->channel));
}

const char *session_run_id(const struct session_run *run)
{
    return run->id;
}

void session_run_get_status(const struct session_run *run, struct session_run_status *ret)
{
    bool over = run->closed && run->stored;

    *ret = (struct session_run_status){
        .running = !over,
        .has_exit_code = over && run->end != RUN_END_SPAWN_FAILED,
        .exit_code = run->status,
        .error = over ? run->error : NULL,
        .started_us = run->started_us,
        .finished_us = over ? run->finished_us : 0,
        .log = run->spool,
    };
}
