#include "server/enclave/pool.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proto/api/errors.h"
#include "proto/base/loop_delay.h"

/*
 * Sandboxes stand in one row; idle ones are taken from its front and put back at its end. Uses wait in another. `serve`
 * brings the two together, from a posted event, so that no callback of a request runs inside another's.
 */
struct pooled {
    char id[ID_UUID_LEN + 1];
    bool busy;
    struct pooled *prev, *next;
};

struct pool_use {
    struct enclave_pool *pool;
    struct pooled *sandbox;    /* borrowed; NULL while waiting */
    struct enclave_call *call; /* owned; NULL while waiting */
    char *tool;                /* owned */
    json_t *parameters;        /* owned */
    struct event *timer;       /* owned: how long it may wait */
    int64_t deadline_ms;       /* of loop_clock_ms: until then */
    pool_done_fn on_done;
    void *arg;
    struct pool_use *prev, *next; /* in the pool's row while waiting */
};

struct fill {
    struct enclave_pool *pool;
    unsigned pending;
    json_t *ids;
    struct err err;         /* the first failure */
    pool_filled_fn on_done; /* NULL: nobody waits */
    void *arg;
    struct fill *prev, *next;
};

struct enclave_pool {
    struct event_base *base;  /* borrowed */
    struct lifecycle *lc;     /* borrowed */
    struct pooled *row;       /* utlist DL, owned */
    unsigned n, filling;      /* sandboxes in the row; still being made */
    struct pool_use *waiting; /* utlist DL, borrowed */
    unsigned n_waiting;
    struct fill *fills;  /* utlist DL, owned */
    struct event *serve; /* owned */
};

static void use_free(struct pool_use *u)
{
    if (u->sandbox == NULL) {
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): what is listed has a predecessor
        DL_DELETE(u->pool->waiting, u);
        u->pool->n_waiting--;
    }
    if (u->timer != NULL)
        event_free(u->timer);
    enclave_call_cancel(u->call);
    json_decref(u->parameters);
    free(u->tool);
    free(u);
}

static void answer(struct pool_use *u, json_t *result, const struct err *err)
{
    pool_done_fn on_done = u->on_done;
    void *arg = u->arg;

    use_free(u);
    on_done(arg, result, err);
}

/* To the end of the row, idle. */
static void put_back(struct enclave_pool *pool, struct pooled *s)
{
    DL_DELETE(pool->row, s);
    DL_APPEND(pool->row, s);
    s->busy = false;
    event_active(pool->serve, EV_TIMEOUT, 0);
}

static void on_called(void *arg, json_t *result)
{
    struct pool_use *u = arg;

    u->call = NULL;
    put_back(u->pool, u->sandbox);
    answer(u, result, NULL);
}

/* The idle sandbox at the front; what is gone leaves the row. */
static struct pooled *next_idle(struct enclave_pool *pool, const struct sandbox **ret)
{
    struct pooled *s, *next;

    DL_FOREACH_SAFE(pool->row, s, next)
    {
        if (s->busy)
            continue;
        *ret = lifecycle_find(pool->lc, s->id);
        if (*ret != NULL && (*ret)->state == SANDBOX_RUNNING)
            return s;
        if (*ret != NULL && (*ret)->state == SANDBOX_PAUSED)
            continue;
        DL_DELETE(pool->row, s);
        pool->n--;
        free(s);
    }
    return NULL;
}

static void run(struct pool_use *u, struct pooled *s, const struct sandbox *sb)
{
    struct enclave_pool *pool = u->pool;
    struct err err = {0};

    DL_DELETE(pool->waiting, u);
    pool->n_waiting--;
    (void)event_del(u->timer);
    u->sandbox = s;
    s->busy = true;
    if (enclave_call_start(pool->base, pool->lc, sb, u->tool, u->parameters, on_called, u, &u->call,
                           &err) == 0)
        return;
    put_back(pool, s);
    answer(u, NULL, &err);
}

static void on_serve(evutil_socket_t fd, short what, void *arg)
{
    struct enclave_pool *pool = arg;
    const struct sandbox *sb;

    (void)fd;
    (void)what;
    struct pooled *s = pool->waiting != NULL ? next_idle(pool, &sb) : NULL;
    if (s != NULL) {
        run(pool->waiting, s, sb);
        event_active(pool->serve, EV_TIMEOUT, 0);
    } else if (pool->waiting != NULL && pool->n == 0 && pool->filling == 0) {
        struct err err = {0};
        (void)err_set(&err, ERR_POOL_EMPTY, ENOENT, "all sandboxes of the pool are gone");
        answer(pool->waiting, NULL, &err);
        event_active(pool->serve, EV_TIMEOUT, 0);
    }
}

struct enclave_pool *enclave_pool_new(struct event_base *base, struct lifecycle *lc)
{
    struct enclave_pool *pool = xnew(struct enclave_pool);

    *pool = (struct enclave_pool){.base = base, .lc = lc};
    pool->serve = event_new(base, -1, 0, on_serve, pool);
    if (pool->serve != NULL)
        return pool;
    free(pool);
    return NULL;
}

static void fill_free(struct fill *f)
{
    DL_DELETE(f->pool->fills, f);
    json_decref(f->ids);
    free(f);
}

void enclave_pool_free(struct enclave_pool *pool)
{
    struct pooled *s, *next;

    if (pool == NULL)
        return;
    while (pool->fills != NULL) {
        lifecycle_cancel(pool->lc, pool->fills);
        fill_free(pool->fills);
    }
    DL_FOREACH_SAFE(pool->row, s, next)
    free(s);
    event_free(pool->serve);
    free(pool);
}

/* ---- filling ---- */

static void end_fill(struct fill *f)
{
    bool none = json_array_size(f->ids) == 0;

    if (f->on_done != NULL)
        f->on_done(f->arg, json_incref(f->ids), none ? &f->err : NULL);
    fill_free(f);
}

static void on_made(void *arg, const struct sandbox *sb, const struct err *err)
{
    struct fill *f = arg;
    struct enclave_pool *pool = f->pool;

    pool->filling--;
    f->pending--;
    if (sb != NULL) {
        struct pooled *s = xnew(struct pooled);
        memcpy(s->id, sb->id, sizeof(s->id));
        DL_APPEND(pool->row, s);
        pool->n++;
        json_array_append_new(f->ids, json_string(sb->id));
        event_active(pool->serve, EV_TIMEOUT, 0);
    } else if (err != NULL && f->err.code == 0) {
        f->err = *err;
    }
    if (f->pending == 0)
        end_fill(f);
}

int enclave_pool_fill(struct enclave_pool *pool, const struct sandbox_spec *spec, unsigned n,
                      pool_filled_fn on_done, void *arg, struct err *err)
{
    if (n == 0 || n > POOL_SIZE_MAX || pool->n + pool->filling > POOL_SIZE_MAX - n)
        return err_set(err, ERR_VALIDATION, EINVAL,
                       "pool_size: expected 1 to %u sandboxes together", POOL_SIZE_MAX);
    struct fill *f = xnew(struct fill);
    *f = (struct fill){.pool = pool, .ids = json_array(), .on_done = on_done, .arg = arg};
    DL_APPEND(pool->fills, f);
    for (unsigned i = 0; i < n; i++) {
        if (lifecycle_create(pool->lc, spec, on_made, f, &f->err) < 0)
            break;
        f->pending++;
        pool->filling++;
    }
    if (f->pending > 0)
        return 0;
    *err = f->err;
    fill_free(f);
    return -EIO;
}

void enclave_pool_forget(struct enclave_pool *pool, const void *arg)
{
    struct fill *f;

    DL_FOREACH(pool->fills, f)
    {
        if (f->arg == arg)
            f->on_done = NULL;
    }
}

/* ---- using ---- */

static int arm(struct pool_use *u)
{
    int64_t ms = MAX(u->deadline_ms - loop_clock_ms(), (int64_t)0);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    return event_add(u->timer, &tv);
}

static void on_waited(evutil_socket_t fd, short what, void *arg)
{
    struct pool_use *u = arg;
    struct err err = {0};

    (void)fd;
    (void)what;
    if (loop_clock_ms() < u->deadline_ms && arm(u) == 0)
        return;
    (void)err_set(&err, ERR_POOL_TIMEOUT, ETIMEDOUT,
                  "Timeout waiting for available sandbox from pool");
    answer(u, NULL, &err);
}

int enclave_pool_use(struct enclave_pool *pool, const char *tool, const json_t *parameters,
                     int64_t wait_ms, pool_done_fn on_done, void *arg, struct pool_use **ret_use,
                     struct err *err)
{
    if (pool->n == 0 && pool->filling == 0)
        return err_set(err, ERR_POOL_EMPTY, ENOENT,
                       "Sandbox pool is empty, call initialize_pool first");
    if (pool->n_waiting == POOL_WAITING_MAX)
        return err_set(err, ERR_OVERLOADED, EAGAIN, "%d requests wait for the pool",
                       POOL_WAITING_MAX);
    struct pool_use *u = xnew(struct pool_use);
    *u = (struct pool_use){.pool = pool,
                           .on_done = on_done,
                           .arg = arg,
                           .tool = xstrdup(tool),
                           .deadline_ms = loop_clock_ms() + wait_ms};
    u->parameters = json_deep_copy(parameters);
    u->timer = evtimer_new(pool->base, on_waited, u);
    DL_APPEND(pool->waiting, u);
    pool->n_waiting++;
    if (u->parameters == NULL || u->timer == NULL || arm(u) < 0) {
        use_free(u);
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory to wait for the pool");
    }
    event_active(pool->serve, EV_TIMEOUT, 0);
    *ret_use = u;
    return 0;
}

void enclave_pool_cancel(struct pool_use *u)
{
    if (u->sandbox != NULL)
        put_back(u->pool, u->sandbox);
    use_free(u);
}

enum pool_state enclave_pool_state(const struct enclave_pool *pool, const char *id)
{
    const struct pooled *s;

    DL_FOREACH(pool->row, s)
    {
        if (strcmp(s->id, id) == 0)
            return s->busy ? POOL_BUSY : POOL_IDLE;
    }
    return POOL_NONE;
}

unsigned enclave_pool_size(const struct enclave_pool *pool)
{
    return pool->n;
}
