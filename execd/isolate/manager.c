#include "execd/isolate/manager.h"

#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/isolate/manager_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

#define ROOT_DEFAULT "/var/lib/execd/isolation"
#define SESSIONS_DEFAULT 64

static const char *const allowed_default[] = {"/workspace", "/mnt", "/media", "/data", NULL};
static const char *const wrap_argv[] = {"execd", ISOLATE_INIT_ARG, NULL};

/* ---- the manager ---- */

int isolate_manager_new(struct event_base *base, const struct isolate_config *config,
                        struct isolate_manager **ret_manager)
{
    struct isolate_manager *m = xnew(struct isolate_manager);
    const struct session_config shells = {.archive = config->archive, .pool = config->pool};

    m->base = base;
    m->config = *config;
    if (m->config.root == NULL)
        m->config.root = ROOT_DEFAULT;
    if (m->config.allowed == NULL)
        m->config.allowed = allowed_default;
    if (m->config.sessions_max == 0)
        m->config.sessions_max = SESSIONS_DEFAULT;
    int rc = isolate_probe_init(m);
    if (rc == 0)
        rc = session_manager_new(base, &shells, &m->shells);
    if (rc < 0) {
        isolate_probe_done(m);
        free(m);
        return rc;
    }
    *ret_manager = m;
    return 0;
}

static void session_done(struct isolate_session *s)
{
    control_free(s->control);
    if (s->idle != NULL)
        event_free(s->idle);
    json_decref(s->echo);
    arena_done(&s->arena);
    free(s);
}

void isolate_manager_shutdown(struct isolate_manager *m)
{
    m->shutting_down = true;
    session_manager_shutdown(m->shells);
}

void isolate_manager_free(struct isolate_manager *m)
{
    struct isolate_session *s, *tmp;

    if (m == NULL)
        return;
    session_manager_free(m->shells);
    HASH_ITER(hh, m->by_id, s, tmp)
    {
        HASH_DEL(m->by_id, s);
        if (s->worker != NULL)
            *s->worker = NULL;
        session_done(s);
    }
    isolate_probe_done(m);
    store_close(m->store);
    free(m);
}

/* ---- the life of a session ---- */

/* Tells whoever waits, once. */
static void tell(struct isolate_session *s, struct isolate_session *made, const struct err *err)
{
    isolate_created_fn on_created = take_ptr(&s->on_created);

    if (on_created != NULL)
        on_created(s->arg, made, err);
}

static bool is_busy(const struct isolate_session *s)
{
    struct session_status status;

    session_get_status(s->shell, &status);
    return status.busy || status.queued > 0;
}

void isolate_delete(struct isolate_session *s)
{
    struct isolate_manager *m = s->manager;

    s->on_created = NULL;
    if (s->worker != NULL) {
        s->doomed = true;
        control_free(take_ptr(&s->control)); /* its shell ends now */
        return;
    }
    HASH_DEL(m->by_id, s);
    m->n--;
    session_delete(s->shell);
    isolate_leave_store(m, s->dir);
    session_done(s);
}

bool isolate_is_working(const struct isolate_session *s)
{
    return s->worker != NULL;
}

bool isolate_work_begin(struct isolate_session *s, bool alone, struct isolate_session **worker)
{
    if (s->worker != NULL || (alone && is_busy(s)))
        return false;
    s->worker = worker;
    *worker = s;
    return true;
}

void isolate_work_done(struct isolate_session *s)
{
    *s->worker = NULL;
    s->worker = NULL;
    if (s->doomed)
        isolate_delete(s);
}

void isolate_abandon(struct isolate_session *s)
{
    s->on_created = NULL;
    if (s->state == ISOLATE_STARTING)
        isolate_delete(s);
}

static void fail(struct isolate_session *s, const char *why)
{
    struct err err = {0};

    (void)err_set(&err, ERR_ISOLATION_UNAVAILABLE, EPERM, "%s", why);
    tell(s, NULL, &err);
    isolate_delete(s);
}

/* A run may have come since it was found to be time; its end begins a new one. */
static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    if (!is_busy(arg))
        isolate_delete(arg);
}

static void arm_idle(void *arg)
{
    struct isolate_session *s = arg;
    struct timeval tv = {.tv_sec = s->idle_timeout_ms / 1000};

    (void)event_del(s->idle);
    if (s->idle_timeout_ms > 0 && !is_busy(s) && event_add(s->idle, &tv) < 0)
        s->idle_timeout_ms = 0; /* no memory for a timer: it stays until it is deleted */
}

static void on_reply(void *arg, const struct isolate_reply *reply)
{
    struct isolate_session *s = arg;

    if (!reply->ok) {
        fail(s, reply->message != NULL ? reply->message : "the session could not be set up");
        return;
    }
    s->state = ISOLATE_ACTIVE;
    arm_idle(s);
    tell(s, s, NULL);
}

static void on_gone(void *arg)
{
    struct isolate_session *s = arg;

    if (s->state == ISOLATE_STARTING) {
        fail(s, "the first process of the session ended while it was being set up");
        return;
    }
    s->state = ISOLATE_DEAD;
}

static const struct control_ops control_ops = {on_reply, on_gone};

/* ---- the beginning ---- */

static int copy_layers(struct isolate_session *s, const struct isolate_plan *plan, struct err *err)
{
    const struct isolate_mount *mounts = plan->mounts.items;

    s->layers = arena_alloc(&s->arena, (plan->mounts.n + 1) * sizeof(*s->layers));
    for (size_t i = 0; s->layers != NULL && i < plan->mounts.n; i++) {
        if (mounts[i].upper == NULL)
            continue;
        struct isolate_layer *layer = &s->layers[s->n_layers++];
        layer->path = arena_printf(&s->arena, "%s", mounts[i].path);
        layer->upper = arena_printf(&s->arena, "%s", mounts[i].upper);
        if (layer->path == NULL || layer->upper == NULL)
            s->layers = NULL;
    }
    return s->layers != NULL ? 0 : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory");
}

int isolate_open_store(struct isolate_manager *m, struct err *err)
{
    int rc = m->store != NULL ? 0 : store_open(m->config.root, m->config.pool, &m->store, err);

    if (rc < 0)
        err->code = ERR_ISOLATION_UNAVAILABLE;
    return rc;
}

void isolate_leave_store(struct isolate_manager *m, const char *name)
{
    if (m->store == NULL)
        return;
    if (m->n == 0 && m->probe.child.pid == 0)
        store_retire(take_ptr(&m->store));
    else if (name[0] != '\0')
        store_remove(m->store, name);
}

static int start_shell(struct isolate_session *s, const struct isolate_plan *plan, const char *cwd,
                       struct err *err)
{
    struct isolate_manager *m = s->manager;
    cleanup_fd int theirs = -1;

    int rc = control_new(m->base, plan, &control_ops, s, &s->control, &theirs, err);
    if (rc < 0)
        return rc;
    s->wrap = (struct shell_wrap){.file = "/proc/self/exe",
                                  .argv = wrap_argv,
                                  .config_fd = theirs,
                                  .namespaces = CLONE_NEWPID,
                                  .trusted = true};
    const struct session_request request = {.cwd = cwd,
                                            .wrap = &s->wrap,
                                            .error_name = "IsolatedError",
                                            .on_idle_change = arm_idle,
                                            .arg = s};
    rc = session_create(m->shells, &request, &s->shell, err);
    s->wrap.config_fd = -1;
    if (rc == -EPERM || rc == -ENOSPC || rc == -EINVAL)
        err->code = ERR_ISOLATION_UNAVAILABLE;
    return rc;
}

static int build(struct isolate_session *s, const struct isolate_request *r, struct err *err)
{
    struct isolate_manager *m = s->manager;
    const struct isolate_overlay *overlays = r->overlays.items;
    struct isolate_plan plan;

    ids_hex(s->dir);
    const char *dir = arena_printf(&s->arena, "%s/%s", store_path(m->store), s->dir);
    if (dir == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory");
    int rc = isolate_request_plan(r, m->config.allowed, dir, &s->arena, &plan, err);
    if (rc == 0)
        rc = copy_layers(s, &plan, err);
    if (rc == 0)
        rc = store_make(m->store, s->dir, r->overlays.n, err);
    return rc == 0 ? start_shell(s, &plan, overlays[0].path, err) : rc;
}

int isolate_create(struct isolate_manager *m, const struct isolate_request *request,
                   isolate_created_fn on_created, void *arg, struct isolate_session **ret_session,
                   struct err *err)
{
    const struct isolate_overlay *first = request->overlays.items;

    if (m->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "the agent is shutting down");
    if (m->n >= m->config.sessions_max)
        return err_set(err, ERR_TOO_MANY_COMMANDS, EAGAIN,
                       "%u isolated sessions exist, which is the limit", m->n);
    int rc = isolate_open_store(m, err);
    if (rc < 0)
        return rc;
    struct isolate_session *s = xnew(struct isolate_session);
    s->manager = m;
    s->on_created = on_created;
    s->arg = arg;
    s->idle_timeout_ms = request->idle_timeout_seconds * 1000;
    s->background = first->persist || strcmp(first->mode, "rw") == 0;
    s->echo = isolate_request_echo(request);
    s->idle = event_new(m->base, -1, 0, on_idle, s);
    arena_init(&s->arena);
    rc = s->idle == NULL || s->echo == NULL
             ? err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory")
             : build(s, request, err);
    if (rc < 0) {
        isolate_leave_store(m, s->dir);
        session_done(s);
        return rc;
    }
    s->id = session_id(s->shell);
    HASH_ADD_KEYPTR(hh, m->by_id, s->id, strlen(s->id), s);
    m->n++;
    *ret_session = s;
    return 0;
}

/* ---- questions ---- */

static bool is_known(const struct isolate_session *s)
{
    return s->state != ISOLATE_STARTING && !s->doomed;
}

struct isolate_session *isolate_find(struct isolate_manager *m, const char *id)
{
    struct isolate_session *s = NULL;

    HASH_FIND_STR(m->by_id, id, s);
    return s != NULL && is_known(s) ? s : NULL;
}

void isolate_each(struct isolate_manager *m, void (*visit)(struct isolate_session *s, void *arg),
                  void *arg)
{
    struct isolate_session *s, *tmp;

    HASH_ITER(hh, m->by_id, s, tmp)
    {
        if (is_known(s))
            visit(s, arg);
    }
}

const char *isolate_id(const struct isolate_session *s)
{
    return s->id;
}

struct session *isolate_shell(struct isolate_session *s)
{
    return s->shell;
}

bool isolate_is_dead(const struct isolate_session *s)
{
    return s->state == ISOLATE_DEAD;
}

const json_t *isolate_echo(const struct isolate_session *s)
{
    return s->echo;
}

int64_t isolate_idle_left(const struct isolate_session *s)
{
    struct session_status status;

    if (s->idle_timeout_ms == 0 || is_busy(s))
        return -1;
    session_get_status(s->shell, &status);
    int64_t left = status.idle_since_ms + s->idle_timeout_ms - clock_monotonic_ms();
    return left > 0 ? (left + 999) / 1000 : 0;
}

bool isolate_takes_background(const struct isolate_session *s)
{
    return s->background;
}

void isolate_note_run(struct isolate_session *s, const char *run_id, int64_t started_us)
{
    struct isolate_manager *m = s->manager;
    struct lost_run *slot = &m->lost[m->next_lost++ % LOST_RUNS];

    memcpy(slot->session, s->id, sizeof(slot->session));
    memcpy(slot->run, run_id, sizeof(slot->run));
    slot->started_us = started_us;
}

int64_t isolate_lost_run(const struct isolate_manager *m, const char *wanted, const char *run_id)
{
    for (size_t i = 0; i < LOST_RUNS; i++)
        if (strcmp(m->lost[i].session, wanted) == 0 && strcmp(m->lost[i].run, run_id) == 0)
            return m->lost[i].started_us;
    return 0;
}

size_t isolate_layers(const struct isolate_session *s, struct isolate_layer *ret_layers, size_t max)
{
    size_t n = MIN(s->n_layers, max);

    memcpy(ret_layers, s->layers, n * sizeof(*ret_layers));
    return n;
}

int isolate_mount_ns(const struct isolate_session *s)
{
    return s->control != NULL ? control_mount_ns(s->control) : -1;
}
