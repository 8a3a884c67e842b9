#include "execd/pty/term.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "execd/events/bus.h"
#include "execd/proc/environment.h"
#include "execd/pty/term_priv.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

#define SMALL_RING_PART 16

static const struct timeval kill_again = {0, 10 * 1000};

static const struct term_config defaults = {
    .sessions_max = 1024,
    .viewers_max = 64,
    .attached_max = 2048,
    .ring_size = 1 << 20,
    .ring_total = 128 << 20,
    .recording_size = 16 << 20,
    .recording_total = 64 << 20,
};

/* ---- one session --------------------------------------------------------------------------------- */

static void free_term(struct term *t)
{
    struct term_manager *m = t->manager;

    if (t->leader.pid > 0)
        reaper_forget(t->leader.pid);
    pidref_done(&t->leader);
    term_io_stop(t);
    (void)event_del(&t->resize);
    (void)event_del(&t->kill);
    leaf_free(t->leaf);
    if (t->ring.size == m->config.ring_size)
        m->ring_bytes -= t->ring.size;
    ring_done(&t->ring);
    recording_unref(t->recording);
    free(t->cwd);
    free(t->command);
    free(t);
    m->n_sessions--;
}

static void on_kill(evutil_socket_t fd, short what, void *arg)
{
    struct term *t = arg;

    (void)fd;
    (void)what;
    if (t->leaf != NULL && !leaf_kill(t->leaf)) {
        (void)event_add(&t->kill,
                        &kill_again); /* without memory it stays until the end of the agent */
        return;
    }
    TAILQ_REMOVE(&t->manager->dying, t, link);
    free_term(t);
}

static struct term *new_term(struct term_manager *m, const char *cwd,
                             const struct term_request *request)
{
    const char *command = request->command;
    struct term *t = xnew(struct term);
    size_t size = m->config.ring_size;

    ids_hex(t->id);
    t->manager = m;
    t->cwd = xstrdup(cwd);
    t->command = command != NULL && command[0] != '\0' ? xstrdup(command) : NULL;
    t->cols = request->cols != 0 ? request->cols : 80;
    t->rows = request->rows != 0 ? request->rows : 24;
    t->created_us = clock_wall_us();
    if (m->ring_bytes + size <= m->config.ring_total)
        m->ring_bytes += size;
    else
        size /= SMALL_RING_PART;
    ring_init(&t->ring, size);
    LIST_INIT(&t->viewers);
    term_io_init(t);
    term_run_init(t);
    (void)event_assign(&t->kill, m->base, -1, 0, on_kill, t); /* fails for bad flags only */
    m->n_sessions++;
    return t;
}

/* The one that exited longest ago, and that nobody looks at. */
static struct term *find_dispensable(const struct term_manager *m)
{
    struct term *best = NULL;

    for (struct term *t = m->by_id; t != NULL; t = t->hh.next) {
        if (t->has_exited && !t->running && LIST_EMPTY(&t->viewers) &&
            (best == NULL || t->exited_ms < best->exited_ms))
            best = t;
    }
    return best;
}

static int make_room(struct term_manager *m, struct err *err)
{
    struct term *old;

    if (m->n_sessions >= m->config.sessions_max && (old = find_dispensable(m)) != NULL)
        term_delete(old);
    if (m->n_sessions < m->config.sessions_max)
        return 0;
    return err_set(err, ERR_TOO_MANY_TERMINALS, EAGAIN, "%u sessions are open, which is the limit",
                   m->config.sessions_max);
}

/* The directory is made now, so that a bad one is the creator's error. It is looked up again at each start. */
static int check_cwd(const char *cwd, struct arena *arena, const char **ret_cwd, struct err *err)
{
    const char *const *envp;

    int rc = environment_build(arena, NULL, &envp, err);
    return rc < 0 ? rc : environment_make_cwd(arena, cwd, envp, ret_cwd, err);
}

int term_create(struct term_manager *m, const struct term_request *request, struct term **ret_term,
                struct err *err)
{
    struct arena arena;
    const char *cwd;

    if (m->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "the agent is shutting down");
    int rc = make_room(m, err);
    if (rc < 0)
        return rc;
    arena_init(&arena);
    rc = check_cwd(request->cwd, &arena, &cwd, err);
    if (rc < 0) {
        arena_done(&arena);
        return rc;
    }
    struct term *t = new_term(m, cwd, request);
    arena_done(&arena);
    if (request->record)
        t->recording = recording_new(&m->recordings, m->config.recording_size, t->cols, t->rows);
    if (request->record && t->recording == NULL) {
        free_term(t);
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no room for another recording");
    }
    HASH_ADD_STR(m->by_id, id, t);
    events_publish(EVENTS_PTY_CREATED, json_pack("{s:s}", "id", t->id));
    *ret_term = t;
    return 0;
}

static void let_go(struct term *t, enum term_gone why)
{
    struct term_viewer *v;

    while ((v = LIST_FIRST(&t->viewers)) != NULL) {
        term_detach(v);
        v->on_gone(v, why);
    }
}

void term_delete(struct term *t)
{
    struct term_manager *m = t->manager;

    HASH_DEL(m->by_id, t);
    let_go(t, TERM_GONE_DELETED);
    if (t->running) {
        reaper_forget(t->leader.pid);
        events_publish(EVENTS_PTY_ENDED, json_pack("{s:s,s:s}", "id", t->id, "reason", "deleted"));
    }
    pidref_done(&t->leader);
    t->running = false;
    term_io_stop(t);
    TAILQ_INSERT_TAIL(&m->dying, t, link);
    on_kill(-1, 0, t);
}

struct term *term_find(struct term_manager *m, const char *id)
{
    struct term *t = NULL;

    HASH_FIND_STR(m->by_id, id, t);
    return t;
}

struct term *term_next(struct term_manager *m, struct term *after)
{
    return after != NULL ? after->hh.next : m->by_id;
}

void term_get_info(const struct term *t, struct term_info *ret_info)
{
    *ret_info = (struct term_info){
        .id = t->id,
        .running = t->running,
        .has_exited = t->has_exited,
        .mode = t->mode,
        .exit_code = t->exit_code,
        .output_offset = ring_total(&t->ring),
        .has_writer = t->writer != NULL,
        .viewers = t->n_viewers,
        .cols = t->cols,
        .rows = t->rows,
        .recorded = t->recording != NULL,
        .created_us = t->created_us,
    };
}

const struct ring *term_ring(const struct term *t)
{
    return &t->ring;
}

struct recording *term_recording(const struct term *t)
{
    return t->recording;
}

/* ---- viewers ------------------------------------------------------------------------------------- */

int term_check_room(const struct term *t, bool writer, struct err *err)
{
    const struct term_manager *m = t->manager;

    if (!writer && t->n_viewers >= m->config.viewers_max)
        return err_set(err, ERR_TOO_MANY_TERMINALS, EAGAIN,
                       "%u viewers look at this session, which is the limit", t->n_viewers);
    if (m->n_attached >= m->config.attached_max)
        return err_set(err, ERR_TOO_MANY_TERMINALS, EAGAIN,
                       "%u clients are attached to sessions, which is the limit", m->n_attached);
    return 0;
}

bool term_has_writer(const struct term *t)
{
    return t->writer != NULL;
}

void term_attach(struct term *t, struct term_viewer *v, bool writer)
{
    struct term_viewer *old = writer ? t->writer : NULL;

    v->term = t;
    v->as_writer = writer;
    v->has_ended = false;
    v->moved_ms = loop_clock_ms();
    LIST_INSERT_HEAD(&t->viewers, v, link);
    t->n_viewers += !writer;
    t->manager->n_attached++;
    if (old != NULL) {
        term_detach(old);
        old->on_gone(old, TERM_GONE_TAKEN_OVER);
    }
    if (writer)
        t->writer = v;
}

void term_detach(struct term_viewer *v)
{
    struct term *t = v->term;

    if (t == NULL)
        return;
    v->term = NULL;
    LIST_REMOVE(v, link);
    t->n_viewers -= !v->as_writer;
    t->manager->n_attached--;
    if (t->writer == v) {
        t->writer = NULL;
        term_io_release(t);
    }
}

void term_moved(struct term_viewer *v, uint64_t offset)
{
    if (v->term == NULL || v->offset == offset)
        return;
    v->offset = offset;
    v->moved_ms = loop_clock_ms();
    if (v->term->writer == v)
        term_io_release(v->term);
}

/* ---- all of them --------------------------------------------------------------------------------- */

int term_manager_new(struct event_base *base, const struct term_config *config,
                     struct term_manager **ret_manager)
{
    struct term_manager *m = xnew(struct term_manager);

    m->base = base;
    TAILQ_INIT(&m->dying);
    if (config != NULL)
        m->config = *config;
    DEFAULT_FIELD(m->config, defaults, sessions_max);
    DEFAULT_FIELD(m->config, defaults, viewers_max);
    DEFAULT_FIELD(m->config, defaults, attached_max);
    DEFAULT_FIELD(m->config, defaults, ring_size);
    DEFAULT_FIELD(m->config, defaults, ring_total);
    DEFAULT_FIELD(m->config, defaults, recording_size);
    DEFAULT_FIELD(m->config, defaults, recording_total);
    m->recordings.max = m->config.recording_total;
    *ret_manager = m;
    return 0;
}

void term_manager_counts(const struct term_manager *m, struct term_counts *ret_counts)
{
    *ret_counts = (struct term_counts){.started = m->n_started,
                                       .sessions = HASH_COUNT(m->by_id),
                                       .clients = m->n_attached,
                                       .recorded_bytes = m->recordings.used};
    for (const struct term *t = m->by_id; t != NULL; t = t->hh.next)
        ret_counts->running += t->running;
}

/* An interactive shell ignores SIGTERM; a terminal that goes away ends it. */
void term_manager_shutdown(struct term_manager *m)
{
    struct term *t, *next;

    m->shutting_down = true;
    HASH_ITER(hh, m->by_id, t, next)
    {
        let_go(t, TERM_GONE_SHUTDOWN);
        if (t->running)
            (void)!term_signal(t, SIGHUP); /* gone is what we want */
        term_io_stop(t);
    }
}

void term_manager_free(struct term_manager *m)
{
    struct term *t, *next;

    if (m == NULL)
        return;
    HASH_ITER(hh, m->by_id, t, next)
    {
        HASH_DEL(m->by_id, t);
        free_term(t);
    }
    while ((t = TAILQ_FIRST(&m->dying)) != NULL) {
        TAILQ_REMOVE(&m->dying, t, link);
        free_term(t);
    }
    free(m);
}
