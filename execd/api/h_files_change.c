/*
 * Changing what is there: mode and owner, names, text; and folders as such.
 */
#include <errno.h>

#include "execd/api/file_request.h"
#include "execd/api/paths.h"
#include "execd/files/attributes.h"
#include "execd/files/move.h"
#include "execd/files/remove.h"
#include "execd/files/replace.h"
#include "proto/api/errors.h"
#include "proto/json/jfield.h"
#include "proto/http/resp.h"
#include "proto/json/json_build.h"

/* ---- remove ---- */

static enum http_result remove_paths(struct http_req *req, const struct api *api, bool tree)
{
    struct file_job *job = file_job_new(&remove_op);
    struct err err = {0};
    const char *given;

    for (size_t i = 0; (given = http_req_query(req, "path", i)) != NULL; i++) {
        struct remove_item *item = file_job_add(job, &err);
        if (item == NULL || api_path(file_job_arena(job), given, &item->path, &err) < 0)
            return file_request_refuse(req, job, &err);
        item->tree = tree;
    }
    return file_request_run(req, api->pool, job, NULL);
}

enum http_result h_file_remove(struct http_req *req, void *app)
{
    return remove_paths(req, app, false);
}

enum http_result h_dir_remove(struct http_req *req, void *app)
{
    return remove_paths(req, app, true);
}

/* ---- permissions, folders ---- */

struct permission {
    const char *owner, *group;
    bool has_mode;
    int64_t mode;
};

static const struct jfield permission_fields[] = {
    JFIELD(struct permission, owner, JFIELD_STRING, .max = 255),
    JFIELD(struct permission, group, JFIELD_STRING, .max = 255),
    JFIELD(struct permission, mode, JFIELD_I64, .has_offset = offsetof(struct permission, has_mode),
           .max = 7777),
};

static int take_permission(struct file_job *job, const char *key, const char *path, json_t *value,
                           struct err *err)
{
    struct attributes_item *item = file_job_add(job, err);
    struct permission p = {0};

    (void)key;
    if (item == NULL)
        return -err->errnum;
    if (!json_is_null(value) &&
        jfield_decode(permission_fields, ARRAY_LEN(permission_fields), value, &p,
                      file_job_arena(job), ERR_INVALID_REQUEST_BODY, err) < 0)
        return file_request_bad_body(err);
    item->path = path;
    int rc = file_request_mode(p.has_mode, p.mode, &item->mode, err);
    return rc < 0 ? rc : owner_find(p.owner, p.group, ERR_INVALID_REQUEST_BODY, &item->owner, err);
}

static enum http_result with_permissions(struct http_req *req, const struct api *api,
                                         const struct file_op *op)
{
    struct file_job *job = file_job_new(op);
    struct err err = {0};

    if (file_request_entries(req, job, take_permission, &err) < 0)
        return file_request_refuse(req, job, &err);
    return file_request_run(req, api->pool, job, NULL);
}

enum http_result h_file_permissions(struct http_req *req, void *app)
{
    return with_permissions(req, app, &permissions_op);
}

enum http_result h_dir_create(struct http_req *req, void *app)
{
    return with_permissions(req, app, &mkdir_op);
}

/* ---- move ---- */

struct rename_entry {
    const char *src, *dest;
};

static const struct jfield rename_fields[] = {
    JFIELD(struct rename_entry, src, JFIELD_STRING, .flags = JFIELD_REQUIRED, .max = 4095),
    JFIELD(struct rename_entry, dest, JFIELD_STRING, .flags = JFIELD_REQUIRED, .max = 4095),
};

static int take_rename(struct file_job *job, json_t *value, struct err *err)
{
    struct move_item *item = file_job_add(job, err);
    struct rename_entry entry;

    if (item == NULL)
        return -err->errnum;
    if (jfield_decode(rename_fields, ARRAY_LEN(rename_fields), value, &entry, file_job_arena(job),
                      ERR_INVALID_REQUEST_BODY, err) < 0)
        return file_request_bad_body(err);
    int rc = api_path(file_job_arena(job), entry.src, &item->src, err);
    return rc < 0 ? rc : api_path(file_job_arena(job), entry.dest, &item->dest, err);
}

static int take_renames(struct http_req *req, struct file_job *job, struct err *err)
{
    struct slice body = http_req_body(req);
    cleanup_json json_t *array = NULL;

    int rc = json_parse(body.ptr, body.len, &array, ERR_INVALID_REQUEST_BODY, err);
    if (rc == 0 && !json_is_array(array))
        rc = err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "expected an array of moves");
    if (rc < 0)
        return file_request_bad_body(err);
    for (size_t i = 0; rc == 0 && i < json_array_size(array); i++)
        rc = take_rename(job, json_array_get(array, i), err);
    return rc;
}

enum http_result h_file_move(struct http_req *req, void *app)
{
    const struct api *api = app;
    struct file_job *job = file_job_new(&move_op);
    struct err err = {0};

    if (take_renames(req, job, &err) < 0)
        return file_request_refuse(req, job, &err);
    return file_request_run(req, api->pool, job, NULL);
}

/* ---- replace ---- */

struct replacement {
    const char *old, *new;
};

static const struct jfield replacement_fields[] = {
    JFIELD(struct replacement, old, JFIELD_STRING, .max = 8 << 20),
    JFIELD(struct replacement, new, JFIELD_STRING, .max = 8 << 20),
};

static int take_replacement(struct file_job *job, const char *key, const char *path, json_t *value,
                            struct err *err)
{
    struct replace_item *item = file_job_add(job, err);
    struct arena *arena = file_job_arena(job);
    struct replacement r = {0};

    if (item == NULL)
        return -err->errnum;
    if (jfield_decode(replacement_fields, ARRAY_LEN(replacement_fields), value, &r, arena,
                      ERR_INVALID_REQUEST_BODY, err) < 0)
        return file_request_bad_body(err);
    item->path = path;
    item->key = arena_printf(arena, "%s", key);
    item->old = r.old != NULL ? r.old : "";
    item->new = r.new != NULL ? r.new : "";
    return item->key != NULL ? 0
                             : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the path");
}

/* Always, not only with verbose=true: the 1.1 client counts on it (contracts/v1.1.md 1.6). */
static void answer_counts(struct http_req *req, struct file_job *job)
{
    json_t *answer = json_object();

    for (size_t i = 0; i < file_job_count(job); i++) {
        const struct replace_item *item = file_job_item(job, i);
        json_put(&answer, item->key, json_pack("{s:I}", "replacedCount", (json_int_t)item->count));
    }
    (void)http_resp_json(req, 200, answer); /* H_DONE: nobody to hand it to */
}

enum http_result h_file_replace(struct http_req *req, void *app)
{
    const struct api *api = app;
    struct file_job *job = file_job_new(&replace_op);
    struct err err = {0};

    if (file_request_entries(req, job, take_replacement, &err) < 0)
        return file_request_refuse(req, job, &err);
    return file_request_run(req, api->pool, job, answer_counts);
}
