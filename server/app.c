#include "server/app.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"
#include "proto/base/loop_delay.h"
#include "proto/base/log.h"
#include "proto/base/path.h"
#include "proto/base/version.h"
#include "server/api/enclave.h"
#include "server/runtime/native/native.h"

struct app {
    const struct config *config;
    struct event_base *base;
    struct event *signals[2];
    struct store *store;
    struct runtime *runtime;
    struct lifecycle *lifecycle;
    struct api api;
    char owner[ID_HEX_LEN + 1];
    bool stopping;
};

/* Our own mark on everything we make on this host, so that two servers never touch each other's sandboxes. */
static int load_owner(struct app *app, struct err *err)
{
    int rc = store_get_value(app->store, "owner", app->owner, sizeof(app->owner), err);

    if (rc != -ENOENT)
        return rc;
    ids_hex(app->owner);
    return store_put_value(app->store, "owner", app->owner, err);
}

static int make_state_dir(const struct config *c, struct err *err)
{
    int rc = path_mkdirs_in_root(AT_FDCWD, c->state_dir, 0700);

    if (rc < 0)
        return err_sys(err, 0, -rc, "state directory '%s' (runtime.state_dir)", c->state_dir);
    return 0;
}

static int start_runtime(struct app *app, struct err *err)
{
    const struct config *c = app->config;
    struct native_config native = {
        .state_dir = c->state_dir,
        .execd_path = c->execd_path,
        .uid_base = (uint32_t)c->uid_base,
        .uid_count = 65536,
        .cgroup_parent = c->cgroup_parent,
        .start_ms = (int)c->start_timeout_s * 1000,
        .default_pids = (uint64_t)c->pids_limit,
        .tmp_bytes = (uint64_t)c->tmp_mib << 20,
        .owner = app->owner,
    };
    return native_runtime_new(app->base, &native, &app->runtime, err);
}

static int listen_enclave(struct app *app, struct err *err)
{
    const char *where = app->config->enclave_listen;
    char port_text[16];
    int port;

    int rc = http_server_listen_tagged(app->api.server, where, LISTENER_ENCLAVE, &port, err);
    if (rc < 0)
        return rc;
    snprintf(port_text, sizeof(port_text), "%d", port);
    log_event(LOG_LEVEL_INFO, "server", "listening for ms-enclave", "where", where, "port",
              port_text, NULL);
    return 0;
}

static int start_api(struct app *app, struct err *err)
{
    const struct config *c = app->config;
    struct http_server_config http = {
        .routes = api_routes,
        .n_routes = api_n_routes,
        .app = &app->api,
        .limits = {.idle_ms = (int)c->keep_alive_s * 1000,
                   .conns_max = (unsigned)c->connections_max},
        .authorize = api_authorize,
        .decorate = api_decorate,
        .render_error = api_render_error,
    };
    char where[256];
    int port;

    app->api =
        (struct api){.base = app->base,
                     .lifecycle = app->lifecycle,
                     .public_host = c->eip,
                     .enclave = {.image = c->enclave_image, .lifetime_max_s = c->timeout_max_s},
                     .has_key = c->api_key != NULL,
                     .started_wall_ms = clock_wall_ms(),
                     .started_boot_ms = clock_boottime_ms()};
    if (c->api_key != NULL)
        codec_sha256(c->api_key, strlen(c->api_key), app->api.key_sha256);
    app->api.stopped = stopped_new();
    app->api.pool = enclave_pool_new(app->base, app->lifecycle);
    if (app->api.pool == NULL)
        return err_set(err, 0, ENOMEM, "pool of sandboxes");
    int rc = http_server_new(app->base, &http, &app->api.server);
    if (rc < 0)
        return err_sys(err, 0, -rc, "http server");
    snprintf(where, sizeof(where), strchr(c->host, ':') != NULL ? "[%s]:%lld" : "%s:%lld", c->host,
             (long long)c->port);
    rc = http_server_listen(app->api.server, where, &port, err);
    if (rc == 0 && c->listen != NULL) {
        int no_port;
        snprintf(where, sizeof(where), "unix:%s", c->listen);
        rc = http_server_listen(app->api.server, where, &no_port, err);
    }
    if (rc == 0 && c->enclave_listen != NULL)
        rc = listen_enclave(app, err);
    if (rc < 0)
        return rc;
    char port_text[16];
    snprintf(port_text, sizeof(port_text), "%d", port);
    log_event(LOG_LEVEL_INFO, "server", "listening", "host", c->host, "port", port_text, "version",
              version_text(), "runtime", c->runtime, "auth",
              c->api_key != NULL ? "api key" : "none", NULL);
    return 0;
}

static void on_drained(void *arg)
{
    struct app *app = arg;

    event_base_loopbreak(app->base);
}

static void on_signal(evutil_socket_t signum, short what, void *arg)
{
    struct app *app = arg;

    (void)what;
    log_event(LOG_LEVEL_INFO, "server",
              app->stopping ? "stopping now" : "stopping; sandboxes keep running", "signal",
              strsignal((int)signum), NULL);
    /* One server has all listeners, ms-enclave's too; asked again, it waits for nobody. */
    int grace_ms = app->stopping ? 0 : (int)app->config->grace_s * 1000;
    app->stopping = true;
    http_server_drain(app->api.server, grace_ms, on_drained, app);
}

static int watch_signals(struct app *app)
{
    const int watched[] = {SIGTERM, SIGINT};

    for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
        app->signals[i] = evsignal_new(app->base, watched[i], on_signal, app);
        if (app->signals[i] == NULL || event_add(app->signals[i], NULL) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* Each sandbox costs a few descriptors, each client one: take what the system allows. */
static void raise_limits(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* the lower limit still works, for fewer */
    }
}

static int start(struct app *app, struct err *err)
{
    const struct config *c = app->config;

    app->base = event_base_new();
    if (app->base == NULL || watch_signals(app) < 0)
        return err_set(err, 0, ENOMEM, "event loop");
    int rc = make_state_dir(c, err);
    if (rc == 0)
        rc = store_open(c->store_path, &app->store, err);
    if (rc == 0)
        rc = load_owner(app, err);
    if (rc == 0)
        rc = start_runtime(app, err);
    if (rc == 0) {
        struct lifecycle_config lc = {.sandboxes_max = (unsigned)c->sandboxes_max,
                                      .timeout_max_s = c->timeout_max_s};
        rc = lifecycle_new(app->base, &lc, app->store, app->runtime, &app->lifecycle, err);
    }
    return rc < 0 ? rc : start_api(app, err);
}

static void stop(struct app *app)
{
    http_server_free(app->api.server);
    enclave_pool_free(app->api.pool);
    stopped_free(app->api.stopped);
    if (app->runtime != NULL)
        app->runtime->ops->free(app->runtime);
    lifecycle_free(app->lifecycle);
    store_close(app->store);
    for (size_t i = 0; i < ARRAY_LEN(app->signals); i++) {
        if (app->signals[i] != NULL)
            event_free(app->signals[i]);
    }
    if (app->base != NULL)
        event_base_free(app->base);
}

int app_run(const struct config *config)
{
    struct app app = {.config = config};
    struct err err = {0};

    signal(SIGPIPE, SIG_IGN);
    raise_limits();
    int rc = start(&app, &err);
    if (rc < 0)
        log_event(LOG_LEVEL_ERROR, "server", "cannot start", "error", err.text, NULL);
    else {
        loop_delay_start();
        event_base_dispatch(app.base);
    }
    stop(&app);
    return rc < 0 ? 1 : 0;
}
