#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <utlist.h>

#include "execd/events/bus.h"
#include "execd/exec/session_priv.h"
#include "execd/proc/environment.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

static const struct session_config defaults = {
    .sessions_max = 256,
    .queue_max = 64,
    .queue_text = 64U << 20,
    .history_max = 256,
    .grace_ms = 2000,
    .log_max = UINT64_C(16) << 20,
};

/* ---- sessions ---- */

static void session_free(struct session *s)
{
    struct session_run *run, *tmp;

    session_drop_shell(s);
    DL_FOREACH_SAFE(s->ended, run, tmp)
    session_run_free(run);
    if (s->timer != NULL)
        event_free(s->timer);
    if (s->watch != NULL)
        event_free(s->watch);
    if (s->kick != NULL)
        event_free(s->kick);
    arena_done(&s->arena);
    free(s->start_cwd);
    free(s->cwd);
    free(s->language);
    free(s);
}

static int copy_request(struct session *s, const struct session_request *r, struct err *err)
{
    const char *const *envp;
    const char *cwd;

    s->wrap = r->wrap;
    s->error_name = r->error_name;
    s->on_idle_change = r->on_idle_change;
    s->arg = r->arg;
    s->language = r->language != NULL ? xstrdup(r->language) : NULL;
    s->is_default = r->is_default;
    for (size_t i = 0; r->envs != NULL && i < r->envs->n; i++) {
        if (s->envs.items == NULL)
            s->envs.items = arena_alloc(&s->arena, r->envs->n * sizeof(struct jpair));
        if (s->envs.items == NULL)
            return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the session");
        s->envs.items[s->envs.n++] =
            (struct jpair){arena_printf(&s->arena, "%s", r->envs->items[i].key),
                           arena_printf(&s->arena, "%s", r->envs->items[i].value)};
    }
    int rc = environment_build(&s->arena, r->envs, &envp, err);
    if (rc == 0)
        rc = environment_make_cwd(&s->arena, r->cwd, envp, &cwd, err);
    if (rc == 0) {
        s->start_cwd = xstrdup(cwd);
        s->cwd = xstrdup(cwd);
    }
    return rc;
}

int session_create(struct session_manager *m, const struct session_request *request,
                   struct session **ret, struct err *err)
{
    if (m->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "the agent is shutting down");
    if (m->n >= m->config.sessions_max)
        return err_set(err, ERR_TOO_MANY_COMMANDS, EAGAIN, "%u sessions exist, which is the limit",
                       m->n);
    struct session *s = xnew(struct session);
    ids_uuid(s->id);
    s->manager = m;
    arena_init(&s->arena);
    s->created_us = clock_wall_us();
    s->idle_since_ms = clock_monotonic_ms();
    int rc = session_make_events(s) < 0
                 ? err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the session")
                 : copy_request(s, request, err);
    if (rc == 0)
        rc = session_start_shell(s, err);
    if (rc < 0) {
        session_free(s);
        return rc;
    }
    s->shell_seen = true;
    HASH_ADD_STR(m->by_id, id, s);
    m->n++;
    events_publish(EVENTS_SESSION_CREATED, json_pack("{s:s}", "id", s->id));
    *ret = s;
    return 0;
}

struct session *session_find(struct session_manager *m, const char *id)
{
    struct session *s = NULL;

    HASH_FIND_STR(m->by_id, id, s);
    return s;
}

const char *session_id(const struct session *s)
{
    return s->id;
}

const char *session_language(const struct session *s)
{
    return s->language;
}

bool session_is_default(const struct session *s)
{
    return s->is_default;
}

void session_delete(struct session *s)
{
    struct session_manager *m = s->manager;

    session_close_all(s, RUN_END_DELETED);
    session_publish_end(s, "deleted");
    HASH_DEL(m->by_id, s);
    m->n--;
    session_free(s);
}

void session_each(struct session_manager *m, void (*visit)(struct session *s, void *arg), void *arg)
{
    struct session *s, *tmp;

    HASH_ITER(hh, m->by_id, s, tmp)
    visit(s, arg);
}

/* ---- the manager ---- */

int session_manager_new(struct event_base *base, const struct session_config *config,
                        struct session_manager **ret)
{
    struct session_manager *m = xnew(struct session_manager);

    m->base = base;
    m->config = *config;
    DEFAULT_FIELD(m->config, defaults, sessions_max);
    DEFAULT_FIELD(m->config, defaults, queue_max);
    DEFAULT_FIELD(m->config, defaults, queue_text);
    DEFAULT_FIELD(m->config, defaults, history_max);
    DEFAULT_FIELD(m->config, defaults, grace_ms);
    DEFAULT_FIELD(m->config, defaults, log_max);
    m->reap = event_new(base, -1, 0, session_reap, m);
    if (m->reap == NULL) {
        free(m);
        return -ENOMEM;
    }
    *ret = m;
    return 0;
}

void session_manager_shutdown(struct session_manager *m)
{
    struct session *s, *tmp;

    m->shutting_down = true;
    HASH_ITER(hh, m->by_id, s, tmp)
    session_close_all(s, RUN_END_SHUTDOWN);
}

void session_manager_free(struct session_manager *m)
{
    struct session *s, *tmp;
    struct condemned *c, *next;

    if (m == NULL)
        return;
    HASH_ITER(hh, m->by_id, s, tmp)
    session_delete(s);
    DL_FOREACH_SAFE(m->condemned, c, next)
    {
        leaf_free(c->leaf);
        free(c);
    }
    event_free(m->reap);
    free(m);
}
