#include "execd/isolate/changes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/isolate/apply.h"
#include "execd/isolate/manager_priv.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"
#include "proto/json/json_build.h"

#define LIST_MAX 20000

struct job {
    struct isolate_session *session; /* NULL when the manager has ended meanwhile */
    enum changes_work work;
    struct isolate_layer layers[ISOLATE_MOUNTS_MAX];
    size_t n_layers;
    struct arena arena;                /* holds their paths */
    const struct isolate_layer *layer; /* the one under way */
    json_t *list;                      /* owned */
    bool truncated;
    uint64_t committed, skipped;
    int rc;
    struct err err;
    changes_done_fn on_done;
    void *arg;
};

/* ---- in the pool ---- */

static const char *type_name(mode_t mode)
{
    return S_ISREG(mode)   ? "file"
           : S_ISDIR(mode) ? "directory"
           : S_ISLNK(mode) ? "symlink"
                           : "other";
}

static void add_change(struct job *job, const char *path, const char *name, const char *kind,
                       const struct stat *st)
{
    char full[2 * 4096];

    if (json_array_size(job->list) >= LIST_MAX) {
        job->truncated = true;
        return;
    }
    (void)snprintf(full, sizeof(full), "%s/%s%s%s", job->layer->path, path, name != NULL ? "/" : "",
                   name != NULL ? name : ""); /* both are paths: fits */
    json_t *o = json_object();
    json_put(&o, "path", json_text(full));
    json_put(&o, "kind", json_string(kind));
    json_put(&o, "type", json_string(type_name(st->st_mode)));
    if (S_ISREG(st->st_mode))
        json_put(&o, "size", json_integer(st->st_size));
    json_push(&job->list, o);
}

static int list_hidden(void *arg, const struct layer_entry *e, int lower_dir, const char *name,
                       struct err *err)
{
    struct stat st;

    (void)err;
    if (fstatat(lower_dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        add_change(arg, e->path, name, "deleted", &st);
    return 0;
}

static int list_entry(void *arg, const struct layer_entry *e, struct err *err)
{
    static const char *const kinds[] = {
        [LAYER_ADDED] = "added", [LAYER_MODIFIED] = "modified", [LAYER_DELETED] = "deleted"};
    struct job *job = arg;

    if (e->kind != LAYER_SAME)
        add_change(job, e->path, NULL, kinds[e->kind],
                   e->kind == LAYER_DELETED ? &e->lower : &e->upper);
    if (e->opaque && e->has_lower && S_ISDIR(e->lower.st_mode))
        return layer_each_hidden(e, list_hidden, job, err);
    return 0;
}

static int commit_entry(void *arg, const struct layer_entry *e, struct err *err)
{
    struct job *job = arg;
    bool skipped;

    int rc = apply_entry(e, &skipped, err);
    job->committed += rc == 1;
    job->skipped += skipped;
    return rc;
}

static void run(void *arg)
{
    struct job *job = arg;
    char upper[4096 + 8];

    for (size_t i = 0; i < job->n_layers && job->rc == 0; i++) {
        job->layer = &job->layers[i];
        (void)snprintf(upper, sizeof(upper), "%s/upper", job->layer->upper); /* fits */
        job->rc = layer_each(job->layer->path, upper,
                             job->work == CHANGES_LIST ? list_entry : commit_entry, job, &job->err);
    }
}

static void job_free(struct job *job)
{
    json_decref(job->list);
    arena_done(&job->arena);
    free(job);
}

/* ---- on the loop ---- */

static json_t *result_of(struct job *job)
{
    if (job->work == CHANGES_COMMIT)
        return json_pack("{s:I,s:I}", "committed", (json_int_t)job->committed, "skipped",
                         (json_int_t)job->skipped);
    return json_pack("{s:O,s:b}", "changes", job->list, "truncated", job->truncated);
}

static void done(void *arg)
{
    struct job *job = arg;
    json_t *result = job->rc == 0 ? result_of(job) : NULL;

    if (result == NULL && job->rc == 0)
        job->rc = err_set(&job->err, 0, ENOMEM, "out of memory");
    job->err.code = ERR_RUNTIME_ERROR;
    if (job->session != NULL)
        isolate_work_done(job->session);
    job->on_done(job->arg, result, job->rc < 0 ? &job->err : NULL);
    job_free(job);
}

/* The session may be gone before the work is done. */
static int copy_layers(struct job *job, const struct isolate_session *s)
{
    job->n_layers = isolate_layers(s, job->layers, ARRAY_LEN(job->layers));
    for (size_t i = 0; i < job->n_layers; i++) {
        struct isolate_layer *layer = &job->layers[i];
        layer->path = arena_printf(&job->arena, "%s", layer->path);
        layer->upper = arena_printf(&job->arena, "%s", layer->upper);
        if (layer->path == NULL || layer->upper == NULL)
            return -ENOMEM;
    }
    return 0;
}

int isolate_changes(struct isolate_session *s, enum changes_work work, changes_done_fn on_done,
                    void *arg, struct err *err)
{
    struct job *job = xnew(struct job);
    *job = (struct job){.work = work, .on_done = on_done, .arg = arg};
    if (!isolate_work_begin(s, work == CHANGES_COMMIT, &job->session)) {
        free(job);
        return err_set(err, ERR_ISOLATED_BUSY, EBUSY, "something runs in session %s",
                       isolate_id(s));
    }
    arena_init(&job->arena);
    job->list = json_array();
    int rc = copy_layers(job, s);
    if (rc == 0)
        rc = work_post(s->manager->config.pool, run, done, job);
    if (rc == 0)
        return 0;
    isolate_work_done(s);
    job_free(job);
    return err_set(err, ERR_TOO_MANY_COMMANDS, -rc, "too much disk work waits");
}
