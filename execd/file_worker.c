#include "execd/file_worker.h"

#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/api/api.h"
#include "execd/files/job.h"
#include "execd/harden/confine.h"
#include "execd/proc/environment.h"
#include "execd/worker/worker.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"

#define POOL_THREADS 1
#define POOL_QUEUE 64
#define ROUTES_MAX 64

static void on_idle(void *arg)
{
    event_base_loopbreak(arg);
}

/* The other end is closed: what runs is taken back first. */
static void on_gone(void *arg)
{
    file_jobs_when_none(on_idle, arg);
}

static int serve(struct api *api, const struct route *routes, size_t n_routes)
{
    /* The limits of clients hold in front of us; these are for a head that the relay has written anew. */
    const struct http_server_config config = {
        .routes = routes,
        .n_routes = n_routes,
        .app = api,
        .limits = {.head_max = 65536, .body_rate_min = 1, .conns_max = 2, .conns_reserve = 1},
    };

    if (archive_new(api->base, NULL, &api->archive) < 0 ||
        work_pool_new(api->base, POOL_THREADS, POOL_QUEUE, &api->pool) < 0 ||
        http_server_new(api->base, &config, &api->server) < 0 ||
        http_server_adopt(api->server, WORKER_FD, on_gone, api->base) < 0)
        return EXIT_FAILURE;
    return event_base_dispatch(api->base) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Into an isolated session, where it may do what a program of the session may. */
static int enter_session(void)
{
    struct sock_fprog *filter;
    struct err err;

    if (setns(WORKER_NS_FD, CLONE_NEWNS) < 0 || chdir("/") < 0 || close(WORKER_NS_FD) < 0 ||
        confine_privileges(&err) < 0 || confine_filter(CONFINE_SESSION, &filter, &err) < 0)
        return -1;
    int rc = confine_load(filter, &err);
    confine_filter_free(filter);
    return rc;
}

int file_worker_main(int argc, char **argv)
{
    struct route routes[ROUTES_MAX];
    struct api api = {.started_wall_ms = clock_wall_ms()};

    /* Whoever has the same uid shall not look into us. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || fcntl(WORKER_FD, F_SETFD, FD_CLOEXEC) < 0 ||
        signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return EXIT_FAILURE;
    if (argc > 2 && strcmp(argv[2], FILE_WORKER_ENTER) == 0 && enter_session() < 0)
        return EXIT_FAILURE;
    mem_setup();
    umask(022);
    environment_capture();
    log_set_level(LOG_LEVEL_ERROR);
    log_capture_libevent();
    api.base = event_base_new();
    if (api.base == NULL)
        return EXIT_FAILURE;
    int code = serve(&api, routes, api_file_routes(routes, ROUTES_MAX));
    _exit(code); /* one request was served: the kernel takes everything back */
}
