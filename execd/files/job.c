#include "execd/files/job.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/work.h"

#define SLICE_MS 20

/*
 * While `running`, everything but `running`, `gone` and `leave` belongs to the pool's thread.
 *
 *   new → start → running ⇄ loop → on_done → free
 *   failed or left: undo → free
 */
struct file_job {
    const struct file_op *op;
    struct arena arena;
    char *items; /* owned */
    size_t n, cap, at;
    struct work_pool *pool; /* borrowed */
    bool running, gone;     /* gone: nobody waits any more */
    atomic_bool leave;      /* tells the slice that runs */
    bool undoing, ended;
    int result;
    struct err err;
    void (*on_done)(void *arg, const struct err *err);
    void *arg;
};

static unsigned n_jobs;
static void (*on_none)(void *arg);
static void *on_none_arg;

static void tell_none(void)
{
    void (*cb)(void *) = on_none;

    if (n_jobs > 0 || cb == NULL)
        return;
    on_none = NULL;
    cb(on_none_arg);
}

void file_jobs_when_none(void (*cb)(void *arg), void *arg)
{
    on_none = cb;
    on_none_arg = arg;
    tell_none();
}

struct file_job *file_job_new(const struct file_op *op)
{
    struct file_job *job = xnew(struct file_job);

    n_jobs++;
    job->op = op;
    arena_init(&job->arena);
    return job;
}

struct arena *file_job_arena(struct file_job *job)
{
    return &job->arena;
}

size_t file_job_count(const struct file_job *job)
{
    return job->n;
}

void *file_job_item(struct file_job *job, size_t i)
{
    return job->items + i * job->op->size;
}

void *file_job_add(struct file_job *job, struct err *err)
{
    if (job->n == FILE_JOB_ITEMS_MAX) {
        (void)err_set(err, ERR_INVALID_REQUEST_BODY, E2BIG, "more than %d entries",
                      FILE_JOB_ITEMS_MAX);
        return NULL;
    }
    if (job->n == job->cap) {
        size_t cap = MAX(job->cap * 2, (size_t)4);
        char *grown = realloc(job->items, cap * job->op->size);
        if (grown == NULL) {
            (void)err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the entries");
            return NULL;
        }
        job->items = grown;
        job->cap = cap;
    }
    void *item = file_job_item(job, job->n++);
    memset(item, 0, job->op->size);
    return item;
}

static void destroy(struct file_job *job)
{
    for (size_t i = 0; i < job->n && job->op->done != NULL; i++)
        job->op->done(file_job_item(job, i));
    arena_done(&job->arena);
    free(job->items);
    free(job);
    n_jobs--;
    tell_none();
}

/* ---- in the pool ---- */

static void take_back(struct file_job *job)
{
    job->undoing = true;
    if (job->op->undo == NULL || job->at == job->n ||
        job->op->undo(file_job_item(job, job->at)) == FILE_DONE)
        job->ended = true;
}

static void go_on(struct file_job *job)
{
    if (job->at == job->n) {
        job->ended = true;
        return;
    }
    int rc = job->op->step(file_job_item(job, job->at), &job->err);
    if (rc == FILE_DONE)
        job->at++;
    if (rc >= 0)
        return;
    job->result = rc;
    take_back(job);
}

static void work(void *arg)
{
    struct file_job *job = arg;
    int64_t until_ms = clock_monotonic_ms() + SLICE_MS;

    do {
        if (job->undoing || atomic_load(&job->leave))
            take_back(job);
        else
            go_on(job);
    } while (!job->ended && clock_monotonic_ms() < until_ms);
}

/* ---- on the loop ---- */

static void on_worked(void *arg);

static int post(struct file_job *job)
{
    int rc = work_post(job->pool, work, on_worked, job);

    job->running = rc == 0;
    if (rc < 0)
        job->result =
            err_set(&job->err, ERR_OVERLOADED, EAGAIN, "too many file operations at once");
    return rc;
}

static void on_worked(void *arg)
{
    struct file_job *job = arg;

    job->running = false;
    if (!job->ended && post(job) == 0)
        return;
    if (job->gone)
        destroy(job);
    else
        job->on_done(job->arg, job->result < 0 ? &job->err : NULL);
}

int file_job_start(struct file_job *job, struct work_pool *pool,
                   void (*on_done)(void *, const struct err *), void *arg, struct err *err)
{
    job->pool = pool;
    job->on_done = on_done;
    job->arg = arg;
    int rc = post(job);
    if (rc < 0)
        *err = job->err;
    return rc;
}

void file_job_free(struct file_job *job)
{
    if (job == NULL)
        return;
    job->gone = true;
    atomic_store(&job->leave, true);
    if (!job->running)
        destroy(job);
}
