#include "execd/app.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "execd/api/api.h"
#include "execd/api/shared.h"
#include "execd/events/bus.h"
#include "execd/exec/shell_context.h"
#include "execd/exec/shell_cull.h"
#include "execd/gateway/channels.h"
#include "execd/gateway/jsessions.h"
#include "execd/gateway/terminals.h"
#include "execd/metrics/alarms.h"
#include "execd/harden/confine.h"
#include "execd/files/watch.h"
#include "execd/init/entrypoint.h"
#include "execd/init/lifecycle.h"
#include "execd/init/pid1.h"
#include "execd/init/shutdown.h"
#include "execd/init/signals.h"
#include "execd/proc/environment.h"
#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"
#include "execd/proc/spawn.h"
#include "execd/pty/term.h"
#include "execd/runcode/runcode.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/version.h"
#include "proto/base/work.h"

#define POOL_THREADS 2
#define POOL_QUEUE 256
#define SAMPLE_AGE_MS 100
#define ARCHIVE_SHARE 64
#define ARCHIVE_MIN (UINT64_C(4) << 20)
#define ARCHIVE_MAX (UINT64_C(64) << 20)
/* After the processes are gone, what their streams still have to say must be sent. */
#define DRAIN_EXTRA_MS 500

struct app {
    const struct config *config;
    struct event_base *base;
    struct api api;
    struct shared_server *shared;  /* NULL: none */
    struct alarms *alarms;         /* owned */
    struct shell_cull *shell_cull; /* owned; NULL: contexts stay */
    bool filtered;                 /* the system call filter is installed */
    bool serving;                  /* listeners are open, the entrypoint was started */
    bool stopping;
    bool processes_gone;
    unsigned n_draining; /* servers that still have requests */
    int exit_code;
};

/* ---- the end ---- */

static void end_when_quiet(struct app *app)
{
    if (app->processes_gone && app->n_draining == 0)
        event_base_loopbreak(app->base);
}

static void on_processes_gone(void *arg)
{
    struct app *app = arg;
    app->processes_gone = true;
    end_when_quiet(app);
}

static void on_drained(void *arg)
{
    struct app *app = arg;
    app->n_draining--;
    end_when_quiet(app);
}

/* All listeners at once: each belongs to one of the two servers. */
static void drain_requests(struct app *app, int grace_ms)
{
    app->n_draining = app->shared != NULL ? 2 : 1;
    http_server_drain(app->api.server, grace_ms, on_drained, app);
    if (app->shared != NULL)
        shared_server_drain(app->shared, grace_ms, on_drained, app);
}

/* Order: no new connections; TERM to all, the grace, KILL, reaping; running requests see their commands end and
 * finish their streams with the terminal event meanwhile. */
static void stop(struct app *app, int grace_ms)
{
    struct err err;
    app->stopping = true;
    lifecycle_stop();
    command_manager_shutdown(app->api.commands, grace_ms, NULL,
                             NULL); /* streams learn the reason */
    events_close();
    watch_metrics_close();
    term_manager_shutdown(app->api.terms);
    session_manager_shutdown(app->api.sessions);
    code_manager_shutdown(app->api.code);
    sql_manager_shutdown(app->api.sql);
    isolate_manager_shutdown(app->api.isolated);
    drain_requests(app, grace_ms + DRAIN_EXTRA_MS);
    if (shutdown_start(app->base, grace_ms, on_processes_gone, app, &err) < 0) {
        log_event(LOG_LEVEL_ERROR, "app", err.text, NULL);
        event_base_loopbreak(app->base);
    }
}

static void on_shutdown(void *arg, int signum)
{
    struct app *app = arg;
    log_event(LOG_LEVEL_INFO, "app", app->stopping ? "shutting down now" : "shutting down",
              "signal", strsignal(signum), NULL);
    if (!app->stopping) {
        stop(app, app->config->grace_ms);
        return;
    }
    shutdown_now();
    drain_requests(app, 0);
}

static void on_forward(void *arg, int signum)
{
    (void)arg;
    entrypoint_signal(signum);
}

static const struct signal_ops signal_ops = {.on_shutdown = on_shutdown, .on_forward = on_forward};

/* ---- the entrypoint ---- */

static void end_with(struct app *app, int code)
{
    if (!app->config->exit_with_entrypoint)
        return;
    if (!app->stopping || !app->config->term_is_success)
        app->exit_code = code;
    if (!app->stopping)
        stop(app, app->config->grace_ms);
}

static void on_entrypoint_exit(void *arg, int code)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", code);
    log_event(code == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "app", "the entrypoint has ended",
              "code", text, NULL);
    end_with(arg, code);
}

static void start_entrypoint(struct app *app)
{
    struct err err = {.text = ""};
    if (app->config->entrypoint == NULL)
        return;
    int result = entrypoint_start(app->config->entrypoint, on_entrypoint_exit, app, &err);
    if (result == 0)
        return;
    log_event(LOG_LEVEL_ERROR, "app", "the entrypoint could not be started", "error", err.text,
              NULL);
    end_with(app, entrypoint_exec_code(-result));
}

/* A preStart that failed is an entrypoint that could not be started. */
static void on_lifecycle_ready(void *arg, int code)
{
    struct app *app = arg;
    if (app->stopping)
        return;
    if (code != 0) {
        log_event(LOG_LEVEL_ERROR, "app", "preStart failed: the entrypoint is not started", NULL);
        end_with(app, code);
        return;
    }
    start_entrypoint(app);
    app->serving = true;
}

/* ---- the start ---- */

static bool is_ready(void *arg)
{
    const struct app *app = arg;
    return app->serving && !app->stopping;
}

/* What ended runs may keep for clients that come back: a small part of the sandbox's memory. */
static size_t archive_budget(struct sampler *sampler)
{
    uint64_t part = sampler_get(sampler)->mem_total / ARCHIVE_SHARE;
    return (size_t)MIN(MAX(part, ARCHIVE_MIN), ARCHIVE_MAX);
}

static void take_config(struct api *api, const struct config *config)
{
    api->line_endings = config->line_endings;
    api->allowed_origins = config->allowed_origins;
    api->has_token = config->has_token;
    memcpy(api->token_sha256, config->token_sha256, SHA256_LEN);
    api->gateway_open = config->gateway.open;
    api->has_gateway_token = config->gateway.has_token;
    memcpy(api->gateway_token_sha256, config->gateway.token_sha256, SHA256_LEN);
    api->contexts_max = config->code.contexts_max;
    api->kernels = (struct kernels_config){
        .root = config->gateway.root != NULL ? config->gateway.root : environment_start_dir(),
        .default_spec = config->gateway.default_kernel,
    };
}

static unsigned count_shells(void *arg)
{
    const struct api *api = arg;
    return shell_context_count(api->sessions).n;
}

static void on_kernel_death(void *arg, const struct code_context *ctx,
                            const struct code_death *death)
{
    (void)arg;
    /* Later they are words of somebody's code. */
    const char *said = death->at_start && death->last_words != NULL ? death->last_words : "";
    log_event(LOG_LEVEL_WARN, "app", "a kernel is dead", "kernel", code_context_id(ctx), "name",
              code_context_spec(ctx), "why", death->evalue, "said", said, NULL);
}

/* Commands and files work without kernels: why there are none is said, and all else goes on. */
static void start_kernels(struct app *app)
{
    struct api *api = &app->api;
    struct code_config code = app->config->code;
    code.workers = api->pool;
    code.n_others = count_shells;
    code.others_arg = api;
    code.on_death = on_kernel_death;
    api->channels = channels_new(app->base);
    int r = api->channels != NULL
                ? code_manager_new(app->base, &code, &api->code, &api->code_err)
                : err_set(&api->code_err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for clients");
    if (r < 0) {
        log_event(LOG_LEVEL_WARN, "app", "no code contexts", "error", api->code_err.text, NULL);
        api->code = NULL;
    }
    api->jsessions = api->code != NULL ? jsessions_new(api->code) : NULL;
}

static int start_http(struct app *app, struct err *err)
{
    struct api *api = &app->api;
    *api = (struct api){
        .base = app->base,
        .is_ready = is_ready,
        .ready_arg = app,
        .started_wall_ms = clock_wall_ms(),
    };
    take_config(api, app->config);
    struct http_server_config http = {
        .routes = api_routes,
        .n_routes = api_n_routes,
        .app = api,
        .authorize = api_authorize,
        .rewrite = api_rewrite,
        .decorate = api_decorate,
        .render_error = api_render_error,
    };
    int result = http_server_new(app->base, &http, &api->server);
    return result < 0 ? err_sys(err, 0, -result, "start the HTTP server") : 0;
}

static int start_managers(struct app *app, struct err *err)
{
    struct api *api = &app->api;
    const struct config *config = app->config;
    int result;
    if ((result = sampler_new(leaf_root(), SAMPLE_AGE_MS, &api->sampler)) < 0)
        return err_sys(err, 0, -result, "start the sampler");
    if ((result = events_start(app->base)) < 0)
        return err_sys(err, 0, -result, "start the event log");
    if ((result = alarms_new(app->base, api->sampler, &app->alarms)) < 0)
        return err_sys(err, 0, -result, "start the alarms");
    if ((result = work_pool_new(app->base, POOL_THREADS, POOL_QUEUE, &api->pool)) < 0)
        return err_sys(err, 0, -result, "start the worker threads");
    const struct archive_config archive = {.budget = archive_budget(api->sampler)};
    if ((result = archive_new(app->base, &archive, &api->archive)) < 0)
        return err_sys(err, 0, -result, "start the archive of streams");
    const struct session_config sessions = {.archive = api->archive, .pool = api->pool};
    if ((result = session_manager_new(app->base, &sessions, &api->sessions)) < 0)
        return err_sys(err, 0, -result, "start the session manager");
    if ((result = shell_cull_new(app->base, api->sessions, config->code.cull_idle_ms,
                                 config->code.cull_interval_ms, &app->shell_cull)) < 0)
        return err_sys(err, 0, -result, "start to look for idle shells");
    const struct isolate_config isolated = {.root = config->isolation_root,
                                            .allowed = config->isolation_writable,
                                            .archive = api->archive,
                                            .pool = api->pool};
    if ((result = isolate_manager_new(app->base, &isolated, &api->isolated)) < 0)
        return err_sys(err, 0, -result, "start the manager of isolated sessions");
    const struct command_config commands = {.archive = api->archive, .pool = api->pool};
    if ((result = port_watch_new(app->base, api->pool, &api->ports)) < 0)
        return err_sys(err, 0, -result, "start the watch over ports");
    if ((result = command_manager_new(app->base, &commands, &api->commands)) < 0)
        return err_sys(err, 0, -result, "start the command manager");
    if ((result = runcode_manager_new(api->commands, api->pool, app->base, &api->runcode)) < 0)
        return err_sys(err, 0, -result, "start the manager of programs");
    if ((result = term_manager_new(app->base, NULL, &api->terms)) < 0)
        return err_sys(err, 0, -result, "start the terminal manager");
    api->terminals = terminals_new(api->terms);
    const struct sql_config sql = {.dsn = config->sql_dsn, .archive = api->archive};
    if ((result = sql_manager_new(app->base, &sql, &api->sql, err)) < 0)
        return result;
    start_kernels(app);
    return 0;
}

static void log_listening(const char *where, int port)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", port);
    log_event(LOG_LEVEL_INFO, "app", "listening", "where", where, "port", number, NULL);
}

static int listen_at(struct app *app, const char *where, unsigned tag, struct err *err)
{
    int port, result = http_server_listen_tagged(app->api.server, where, tag, &port, err);
    if (result == 0)
        log_listening(where, port);
    return result;
}

/* Dual-stack: a listener on IPv4 only leaves the IPv6 port to whoever takes it first (hardening M14). */
static int listen_everywhere(struct app *app, struct err *err)
{
    char where[32];
    snprintf(where, sizeof(where), "[::]:%u", app->config->port);
    int result = listen_at(app, where, 0, err);
    if (result != -EAFNOSUPPORT && result != -EADDRNOTAVAIL)
        return result;
    snprintf(where, sizeof(where), "0.0.0.0:%u", app->config->port);
    return listen_at(app, where, 0, err);
}

/* For programs inside; without a token it would give every user of the sandbox what root may do. */
static void listen_inside(struct app *app)
{
    struct err err = {.text = ""};
    const char *where = app->config->inner_listen;
    if (where == NULL || (!app->config->has_token && !app->config->insecure))
        return;
    if (listen_at(app, where, 0, &err) < 0)
        log_event(LOG_LEVEL_WARN, "app", "no listener for programs inside the sandbox", "where",
                  where, "error", err.text, NULL);
}

static int start_file_server(struct app *app, struct err *err)
{
    const struct shared_config *shared = &app->config->shared;
    char where[96];
    int port;
    if (shared->listen == NULL)
        return 0;
    int result = shared_server_new(app->base, app->api.pool, shared, &port, &app->shared, err);
    snprintf(where, sizeof(where), "%.80s (files)", shared->listen);
    if (result == 0)
        log_listening(where, port);
    return result;
}

static int start_listeners(struct app *app, struct err *err)
{
    const struct config *config = app->config;
    for (size_t i = 0; i < config->gateway.n_listen; i++) {
        int result = listen_at(app, config->gateway.listen[i], LISTENER_GATEWAY, err);
        if (result < 0)
            return result;
    }
    for (size_t i = 0; i < config->n_listen; i++) {
        int result = listen_at(app, config->listen[i], 0, err);
        if (result < 0)
            return result;
    }
    if (config->listen_fd >= 0) {
        int result = http_server_listen_fd(app->api.server, config->listen_fd, err);
        if (result < 0)
            return result;
        log_listening("an inherited socket", 0);
    } else if (config->n_listen == 0 && !config->gateway_only) {
        int result = listen_everywhere(app, err);
        if (result < 0)
            return result;
    }
    listen_inside(app);
    return 0;
}

static void log_start(const struct app *app)
{
    const struct config *config = app->config;
    log_event(LOG_LEVEL_INFO, "app", "execd", "version", version_text(), "pid1",
              pid1_is_init() ? "yes" : "no", "auth", config->has_token ? "token" : "none", "cgroup",
              leaf_mode(), "seccomp", app->filtered ? "yes" : "no", NULL);
    if (!pid1_is_init())
        log_event(LOG_LEVEL_DEBUG, "app", "not PID 1: subreaper, signals are taken from everybody",
                  NULL);
    if (config->insecure && !config->has_token)
        log_event(LOG_LEVEL_WARN, "app", "no token: whoever connects runs commands", NULL);
    if (config->gateway.n_listen > 0 && config->gateway.open)
        log_event(LOG_LEVEL_WARN, "app", "gateway without a token: whoever connects runs code",
                  NULL);
    const struct shared_config *shared = &config->shared;
    if (shared->listen != NULL && !shared->has_token && config_is_exposed(shared->listen))
        log_event(LOG_LEVEL_WARN, "app", "file server without a token: whoever connects reads it",
                  NULL);
    for (size_t i = 0; i < config->n_notices; i++)
        log_event(LOG_LEVEL_INFO, "app", config->notice[i], NULL);
}

/* Sockets first: whoever probes a container that just started finds a queue to wait in, not a refusal, and is answered
 * by the loop (contracts/jupyter.md 3.1: a refused probe costs ms-enclave's clients three seconds). */
static int start(struct app *app, struct err *err)
{
    int result;
    log_start(app);
    if ((result = lifecycle_load(app->config->lifecycle, err)) < 0 ||
        (result = reaper_init(app->base, err)) < 0 || (result = start_http(app, err)) < 0 ||
        (result = start_listeners(app, err)) < 0 || (result = start_managers(app, err)) < 0 ||
        (result = start_file_server(app, err)) < 0 ||
        (result = signals_start(app->base, &signal_ops, app, err)) < 0)
        return result;
    lifecycle_start(app->base, on_lifecycle_ready, app);
    return 0;
}

static void teardown(struct app *app)
{
    struct api *api = &app->api;
    signals_stop();
    shutdown_stop();
    lifecycle_stop();
    entrypoint_forget();
    http_server_free(api->server);
    shared_server_free(app->shared);
    watch_close_all();
    jsessions_free(api->jsessions);
    channels_free(api->channels); /* behind their connections, before the contexts */
    code_manager_free(api->code);
    runcode_manager_free(api->runcode);
    command_manager_free(api->commands);
    terminals_free(api->terminals);
    term_manager_free(api->terms);
    shell_cull_free(app->shell_cull);
    session_manager_free(api->sessions);
    sql_manager_free(api->sql);
    isolate_manager_free(api->isolated);
    archive_free(api->archive);
    if (api->pool != NULL)
        work_pool_free(api->pool);
    port_watch_free(api->ports);
    alarms_free(app->alarms);
    sampler_free(api->sampler);
    events_stop();
    reaper_done();
    leaf_teardown();
    event_base_free(app->base);
}

/* A child that kept the grant could leave the sandbox's confinement: no start without this. */
static int confine_children(struct err *err)
{
    static struct sock_fprog *filter; /* for the life of the process */
    int result = confine_filter(CONFINE_GRANT, &filter, err);
    if (result == 0)
        spawn_confine(CONFINE_GRANT_CAPS, filter);
    return result;
}

int app_run(const struct config *config, struct cgroup_dirs *handed, struct err *err)
{
    struct app app = {.config = config};
    log_capture_libevent();
    /* For PID 1 only, unless it was asked for: elsewhere number 1 is not us. */
    bool want_filter = pid1_is_init() || config->seccomp == FILTER_ON;
    int installed = want_filter ? filter_install(config->seccomp, err) : 0;
    if (installed < 0)
        return installed;
    app.filtered = installed == 1;
    installed = config->isolation_grant ? confine_children(err) : 0;
    if (installed < 0)
        return installed;
    leaf_setup(handed);
    app.base = event_base_new();
    if (app.base == NULL)
        return err_set(err, 0, ENOMEM, "make the event loop");
    int result = start(&app, err);
    loop_delay_start();
    if (result == 0 && event_base_dispatch(app.base) < 0)
        result = err_set(err, 0, EIO, "the event loop failed");
    teardown(&app);
    return result < 0 ? result : app.exit_code;
}
