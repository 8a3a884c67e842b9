#include "execd/code/checkpoint.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#include "execd/code/birth.h"
#include "execd/code/kernel.h"
#include "execd/code/memory.h"
#include "execd/proc/reaper.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/base/work.h"
#include "proto/json/json_build.h"

#define LOOK_MS 2000   /* at sizes and at the memory, while there are any */
#define RECORDS_MAX 32 /* of those that went unasked */

enum checkpoint_state { CHECKPOINT_MAKING, CHECKPOINT_READY, CHECKPOINT_GONE };

struct checkpoint {
    struct checkpoints *owner; /* borrowed */
    char id[ID_HEX_LEN + 1], context_id[ID_UUID_LEN + 1];
    enum checkpoint_state state;
    struct leaf *leaf;    /* owned */
    struct birth *birth;  /* owned, while it is being made */
    struct pidref ref;    /* owned; unset before and after its life */
    int fd;               /* owned: where it takes requests */
    uint64_t bytes, used; /* used: a count, for the order */
    int64_t made_ms;
    const char *why_gone; /* constant; NULL: it was asked to go, no record stays */
    bool measured;        /* since it is ready */
    checkpoint_fn fn;     /* NULL once called or cancelled */
    void *arg;
    struct checkpoint *prev, *next;
};

/* What a worker reads; results are matched by id. */
struct measure {
    struct checkpoints *owner; /* borrowed; NULL when that is gone */
    size_t n;
    struct {
        char id[ID_HEX_LEN + 1];
        pid_t pid;
        uint64_t bytes;
    } rows[CHECKPOINTS_TOTAL_MAX];
};

struct checkpoints {
    struct event_base *base;   /* borrowed */
    struct work_pool *workers; /* borrowed */
    struct checkpoint_limits limits;
    struct checkpoint *list; /* owned, oldest first */
    struct event *timer;     /* owned */
    struct measure *measure; /* under way; NULL: none */
    bool measure_again;
    uint64_t n_uses;
    struct checkpoint_stats stats;
};

static void arm(struct checkpoints *cs, int ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    (void)event_add(cs->timer, &tv); /* fails only when memory is exhausted */
}

/* ---- their end ----------------------------------------------------------------------------------- */

static void forget(struct checkpoint *c)
{
    /* -fanalyzer: whom it asks for is there */
    DL_DELETE(c->owner->list, c);
    birth_cancel(c->birth);
    if (pidref_is_set(&c->ref)) {
        reaper_forget(c->ref.pid);
        (void)!pidref_signal(&c->ref, SIGKILL); /* it may be gone */
    }
    pidref_done(&c->ref);
    if (c->fd >= 0)
        close(c->fd);
    if (c->leaf)
        (void)leaf_kill(c->leaf); /* a copy that hangs before it is there */
    leaf_free(c->leaf);
    free(c);
}

static void answer(struct checkpoint *c, const struct err *err)
{
    /* -fanalyzer: as above */
    checkpoint_fn fn = take_ptr(&c->fn);
    if (fn)
        fn(c->arg, err ? NULL : c, err); /* -fanalyzer: as above */
}

static void fail(struct checkpoint *c, const char *why)
{
    struct err err = {0};
    (void)err_set(&err, ERR_CHECKPOINT_REFUSED, EBUSY, "the kernel cannot be copied: %s",
                  str_starts(why, "error: ") ? why + strlen("error: ") : why); /* handed on */
    answer(c, &err);
}

static void keep_few_records(struct checkpoints *cs)
{
    unsigned n = 0;
    struct checkpoint *c, *oldest = NULL;
    DL_FOREACH(cs->list, c)
    {
        bool record = c->state == CHECKPOINT_GONE && !pidref_is_set(&c->ref);
        oldest = oldest || !record ? oldest : c;
        n += record;
    }
    if (n > RECORDS_MAX)
        forget(oldest);
}

static void on_exit_status(void *arg, const struct exit_status *status)
{
    struct checkpoint *c = arg;
    struct checkpoints *cs = c->owner;
    (void)status;
    pidref_done(&c->ref);
    c->ref = PIDREF_UNSET;
    if (c->state == CHECKPOINT_READY)
        c->why_gone = "died: its process was killed or ended";
    c->state = CHECKPOINT_GONE;
    c->bytes = 0;
    if (c->fd >= 0)
        close(take_fd(&c->fd));
    (void)leaf_kill(c->leaf); /* it has forked nothing that stays in its leaf */
    leaf_free(take_ptr(&c->leaf));
    if (c->fn)
        fail(c, c->why_gone ? c->why_gone : "it was dropped");
    if (c->why_gone)
        keep_few_records(cs);
    else
        forget(c);
}

/* why NULL: asked for. The process is reaped later; the loop goes on meanwhile. */
static void end(struct checkpoint *c, const char *why)
{
    /* -fanalyzer: as above */
    bool evicted = why != NULL && c->state == CHECKPOINT_READY;
    c->state = CHECKPOINT_GONE;
    c->why_gone = why;
    c->owner->stats.evicted += evicted;
    if (pidref_is_set(&c->ref)) {
        (void)!pidref_signal(&c->ref, SIGKILL); /* it may just be ending */
        return;
    }
    if (c->fn)
        fail(c, why ? why : "it was dropped");
    forget(c);
}

void checkpoint_drop(struct checkpoint *c)
{
    end(c, NULL);
}

void checkpoints_drop_context(struct checkpoints *cs, const char *context_id)
{
    struct checkpoint *c, *next;
    if (!cs)
        return;
    DL_FOREACH_SAFE(cs->list, c, next)
    {
        if (strcmp(c->context_id, context_id) != 0)
            continue;
        if (c->state == CHECKPOINT_GONE && !pidref_is_set(&c->ref))
            forget(c);
        else
            end(c, NULL);
    }
}

/* ---- limits -------------------------------------------------------------------------------------- */

/* The one not used for longest; context_id NULL: of all. */
static struct checkpoint *find_oldest(struct checkpoints *cs, const char *context_id,
                                      unsigned *ret_n)
{
    struct checkpoint *c, *found = NULL;
    *ret_n = 0;
    DL_FOREACH(cs->list, c)
    {
        if (c->state != CHECKPOINT_READY || (context_id && strcmp(c->context_id, context_id) != 0))
            continue;
        ++*ret_n;
        if (!found || c->used < found->used)
            found = c;
    }
    return found;
}

static uint64_t sum(const struct checkpoints *cs)
{
    const struct checkpoint *c;
    uint64_t bytes = 0;
    DL_FOREACH(cs->list, c)
    bytes += c->state == CHECKPOINT_READY ? c->bytes : 0;
    return bytes;
}

static void keep_bytes(struct checkpoints *cs)
{
    unsigned n;
    struct checkpoint *oldest;
    while (sum(cs) > cs->limits.bytes && (oldest = find_oldest(cs, NULL, &n)))
        end(oldest, "evicted: checkpoints had more memory than they may");
    if (memory_is_short() && (oldest = find_oldest(cs, NULL, &n)))
        end(oldest, "evicted: memory was short");
}

static void keep_count(struct checkpoints *cs, const char *context_id)
{
    unsigned n;
    struct checkpoint *oldest = find_oldest(cs, context_id, &n);
    if (n > cs->limits.per_context)
        end(oldest, "evicted: newer ones of its context");
    oldest = find_oldest(cs, NULL, &n);
    if (n > CHECKPOINTS_TOTAL_MAX)
        end(oldest, "evicted: newer ones of other contexts");
}

/* ---- sizes --------------------------------------------------------------------------------------- */

static uint64_t read_pss(pid_t pid)
{
    char path[64], text[4096];
    (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid); /* fits */
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    text[MAX(n, 0)] = '\0';
    const char *line = strstr(text, "\nPss_Anon:");
    if (!line)
        line = strstr(text, "\nPss:");
    return line ? strtoull(strchr(line, ':') + 1, NULL, 10) * 1024 : 0;
}

static void measure_run(void *arg)
{
    struct measure *m = arg;
    for (size_t i = 0; i < m->n; i++)
        m->rows[i].bytes = read_pss(m->rows[i].pid);
}

enum measured { MEASURE_NEW, MEASURE_ALL }; /* a look at a big one takes a while */

static void start_measure(struct checkpoints *cs, enum measured which);

static void take_size(struct checkpoints *cs, const char *id, uint64_t bytes)
{
    struct checkpoint *c = checkpoint_find(cs, NULL, id);
    if (!c)
        return;
    c->bytes = bytes;
    c->measured = true;
}

static void measure_done(void *arg)
{
    struct measure *m = arg;
    struct checkpoints *cs = m->owner;
    for (size_t i = 0; cs && i < m->n; i++)
        take_size(cs, m->rows[i].id, m->rows[i].bytes);
    free(m);
    if (!cs)
        return;
    cs->measure = NULL;
    keep_bytes(cs);
    struct checkpoint *c, *next;
    DL_FOREACH_SAFE(cs->list, c, next)
    if (c->state == CHECKPOINT_READY && c->measured && c->fn)
        answer(c, NULL);
    if (cs->measure_again)
        start_measure(cs, MEASURE_NEW);
}

/* A pool that is full: sizes are those of the last time, and nobody waits for them. */
static void measure_not(struct checkpoints *cs)
{
    struct checkpoint *c, *next;
    DL_FOREACH_SAFE(cs->list, c, next)
    if (c->state == CHECKPOINT_READY && c->fn)
        answer(c, NULL);
}

static void start_measure(struct checkpoints *cs, enum measured which)
{
    const struct checkpoint *c;
    cs->measure_again = cs->measure != NULL;
    if (cs->measure)
        return;
    struct measure *m = xnew(struct measure);
    m->owner = cs;
    DL_FOREACH(cs->list, c)
    {
        if (c->state != CHECKPOINT_READY || (which == MEASURE_NEW && c->measured) ||
            m->n == ARRAY_LEN(m->rows))
            continue;
        m->rows[m->n].pid = c->ref.pid;
        memcpy(m->rows[m->n++].id, c->id, sizeof(c->id));
    }
    if (m->n == 0 || !cs->workers || work_post(cs->workers, measure_run, measure_done, m) < 0) {
        free(m);
        measure_not(cs);
        return;
    }
    cs->measure = m;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct checkpoints *cs = arg;
    unsigned n;
    (void)fd;
    (void)what;
    LOOP_WORK("timer", "checkpoints");
    if (!find_oldest(cs, NULL, &n))
        return;
    start_measure(cs, MEASURE_ALL);
    arm(cs, LOOK_MS);
}

/* ---- making -------------------------------------------------------------------------------------- */

static void on_born(void *arg, pid_t pid, const char *why)
{
    struct checkpoint *c = arg;
    struct checkpoints *cs = c->owner;
    struct birth *birth = take_ptr(&c->birth);
    if (pidref_open(&c->ref, pid) < 0) {
        if (pid > 0)
            birth_cancel(birth);
        fail(c, why ? why : "the copy was lost");
        forget(c);
        return;
    }
    leaf_set_leader(c->leaf, pid);
    reaper_watch(pid, on_exit_status, c);
    c->fd = birth_go(birth);
    c->state = CHECKPOINT_READY;
    c->used = ++cs->n_uses;
    cs->stats.made++;
    keep_count(cs, c->context_id);
    start_measure(cs, MEASURE_NEW);
    arm(cs, LOOK_MS);
}

static int check_room(const struct checkpoints *cs, const char *context_id, struct err *err)
{
    const struct checkpoint *c;
    DL_FOREACH(cs->list, c)
    if (c->state == CHECKPOINT_MAKING && strcmp(c->context_id, context_id) == 0)
        return err_set(err, ERR_CHECKPOINT_REFUSED, EBUSY,
                       "the kernel cannot be copied: it is being copied already");
    if (cs->limits.per_context == 0)
        return err_set(err, ERR_CHECKPOINT_REFUSED, EBUSY, "checkpoints are switched off");
    if (memory_is_short())
        return err_set(err, ERR_CHECKPOINT_REFUSED, ENOMEM,
                       "the kernel cannot be copied: memory is short");
    return 0;
}

int checkpoint_make(struct checkpoints *cs, const char *context_id, const struct kernel *kernel,
                    checkpoint_fn fn, void *arg, struct err *err)
{
    const char *why;
    int server = kernel_fork_socket(kernel, &why);
    int r = check_room(cs, context_id, err);
    if (r < 0)
        return r;
    if (server < 0)
        return err_set(err, ERR_CHECKPOINT_REFUSED, EBUSY, "the kernel cannot be copied: %s", why);
    struct checkpoint *c = xnew(struct checkpoint);
    *c = (struct checkpoint){.owner = cs, .ref = PIDREF_UNSET, .fd = -1, .fn = fn, .arg = arg};
    ids_hex(c->id);
    (void)snprintf(c->context_id, sizeof(c->context_id), "%s", context_id); /* a UUID */
    c->made_ms = clock_wall_ms();
    DL_APPEND(cs->list, c);
    char name[64];
    (void)snprintf(name, sizeof(name), "checkpoint-%.16s", c->id); /* fits */
    r = leaf_new_below(name, kernel_leaf(kernel), &c->leaf, err);
    if (r >= 0 && (r = birth_ask(cs->base, server, json_pack("{s:s}", "do", "checkpoint"), c->leaf,
                                 -1, on_born, c, &c->birth)) < 0)
        r = err_set(err, ERR_CHECKPOINT_REFUSED, EBUSY,
                    "the kernel cannot be copied: it takes no requests");
    if (r < 0)
        forget(c);
    return r;
}

void checkpoints_cancel(struct checkpoints *cs, const void *arg)
{
    struct checkpoint *c;
    if (!cs)
        return;
    DL_FOREACH(cs->list, c)
    if (c->arg == arg)
        c->fn = NULL;
}

/* ---- looking ------------------------------------------------------------------------------------- */

struct checkpoint *checkpoint_find(struct checkpoints *cs, const char *context_id, const char *id)
{
    struct checkpoint *c;
    DL_FOREACH(cs->list, c)
    if (c->state == CHECKPOINT_READY && strcmp(c->id, id) == 0 &&
        (!context_id || strcmp(c->context_id, context_id) == 0))
        return c;
    return NULL;
}

const char *checkpoint_why_gone(const struct checkpoints *cs, const char *id)
{
    const struct checkpoint *c;
    DL_FOREACH(cs->list, c)
    if (c->state == CHECKPOINT_GONE && c->why_gone && strcmp(c->id, id) == 0)
        return c->why_gone;
    return "there is none";
}

const char *checkpoint_id(const struct checkpoint *c)
{
    return c->id;
}

int checkpoint_socket(struct checkpoint *c)
{
    c->used = ++c->owner->n_uses;
    (void)!pidref_signal(&c->ref, SIGCONT); /* a stopped one would never answer; dead: nor that */
    return c->fd;
}

const struct leaf *checkpoint_leaf(const struct checkpoint *c)
{
    return c->leaf;
}

json_t *checkpoint_json(const struct checkpoint *c)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I}", "id", c->id, "context_id", c->context_id,
                          "state", c->state == CHECKPOINT_READY ? "ready" : "gone", "bytes",
                          (json_int_t)c->bytes, "created_at", (json_int_t)c->made_ms);
    if (c->why_gone)
        json_put(&o, "reason", json_text(c->why_gone));
    return o;
}

json_t *checkpoints_json(const struct checkpoints *cs, const char *context_id)
{
    const struct checkpoint *c;
    json_t *list = json_array();
    DL_FOREACH(cs->list, c)
    if (strcmp(c->context_id, context_id) == 0 &&
        (c->state == CHECKPOINT_READY || c->why_gone != NULL))
        json_push(&list, checkpoint_json(c));
    return list;
}

void checkpoints_get_stats(const struct checkpoints *cs, struct checkpoint_stats *ret_stats)
{
    const struct checkpoint *c;
    *ret_stats = cs ? cs->stats : (struct checkpoint_stats){0};
    if (!cs)
        return;
    ret_stats->bytes = sum(cs);
    DL_FOREACH(cs->list, c)
    ret_stats->ready += c->state == CHECKPOINT_READY;
}

/* ---- all of them --------------------------------------------------------------------------------- */

struct checkpoints *checkpoints_new(struct event_base *base, struct work_pool *workers,
                                    const struct checkpoint_limits *limits)
{
    struct checkpoints *cs = xnew(struct checkpoints);
    cs->base = base;
    cs->workers = workers;
    cs->limits = *limits;
    cs->timer = evtimer_new(base, on_timer, cs);
    if (!cs->timer)
        abort(); /* as xmalloc: a small block */
    return cs;
}

void checkpoints_free(struct checkpoints *cs)
{
    if (!cs)
        return;
    while (cs->list)
        forget(cs->list);
    if (cs->measure)
        cs->measure->owner = NULL;
    event_free(cs->timer);
    free(cs);
}
