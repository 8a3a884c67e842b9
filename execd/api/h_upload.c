#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execd/api/api.h"
#include "execd/api/paths.h"
#include "execd/api/upload_form.h"
#include "execd/files/info.h"
#include "proto/api/errors.h"
#include "proto/base/str.h"

/*
 * The form is a row of pairs: the i-th part `metadata` (JSON) describes the i-th part `file`, and stands somewhere
 * before it (contracts/execd.md 1.10, 4.4). Each file is put in place as soon as it is whole.
 */
#define PAIRS_MAX 10000
#define METADATA_MAX (64 * 1024)

struct metadata {
    const char *path, *owner, *group;
    const char *sha256; /* 64 hex digits or NULL */
    bool has_mode, has_offset, has_total;
    int64_t mode, offset, total;
};

static const struct jfield metadata_fields[] = {
    JFIELD(struct metadata, path, JFIELD_STRING, .max = 4095),
    JFIELD(struct metadata, owner, JFIELD_STRING, .max = 255),
    JFIELD(struct metadata, group, JFIELD_STRING, .max = 255),
    JFIELD(struct metadata, mode, JFIELD_I64, .has_offset = offsetof(struct metadata, has_mode),
           .max = 7777),
    JFIELD(struct metadata, sha256, JFIELD_STRING, .min = SHA256_HEX_LEN, .max = SHA256_HEX_LEN),
    JFIELD(struct metadata, offset, JFIELD_I64, .has_offset = offsetof(struct metadata, has_offset),
           .max = INT64_MAX),
    JFIELD(struct metadata, total, JFIELD_I64, .has_offset = offsetof(struct metadata, has_total),
           .max = INT64_MAX),
};

enum part_kind { PART_OTHER, PART_METADATA, PART_FILE };

struct pairs {
    struct upload_form *form;   /* borrowed: it owns us */
    enum part_kind kind;        /* of the part being read */
    struct strbuf text;         /* metadata being read */
    struct metadata *pending;   /* owned array: metadata whose file has not begun */
    size_t n_metadata, n_files; /* seen so far */
};

static int take_mode(const struct metadata *m, struct upload_target *target, struct err *err)
{
    unsigned mode = 0;

    if (!m->has_mode || m->mode == 0)
        return 0;
    if (file_mode_from_digits(m->mode, &mode) < 0)
        return err_set(err, ERR_INVALID_FILE_METADATA, EINVAL,
                       "mode %lld: expected octal digits such as 644 or 755", (long long)m->mode);
    target->mode = (int)(mode & 0777);
    return 0;
}

/* An offset makes it an upload in parts; a total alone says nothing that the form does not. */
static int take_parts(const struct metadata *m, struct upload_target *target, struct err *err)
{
    if (m->has_total && (!m->has_offset || m->total < m->offset))
        return err_set(err, ERR_INVALID_FILE_METADATA, EINVAL,
                       "total %lld: expected an offset that is not beyond it", (long long)m->total);
    target->in_parts = m->has_offset;
    target->offset = (uint64_t)m->offset;
    target->total = m->has_total ? (uint64_t)m->total : UPLOAD_NO_TOTAL;
    return 0;
}

static int begin_file(struct pairs *f, struct err *err)
{
    if (f->n_files >= f->n_metadata)
        return err_set(
            err, ERR_INVALID_FILE_METADATA, EINVAL,
            "metadata file is missing: part 'file' number %zu has no part 'metadata' before it",
            f->n_files + 1);
    const struct metadata *m = &f->pending[f->n_files];
    struct upload_target target = {.owner = m->owner, .group = m->group, .mode = -1};
    uint8_t sha256[SHA256_LEN];
    int rc = take_mode(m, &target, err);
    if (rc == 0)
        rc = take_parts(m, &target, err);
    if (rc == 0 && m->sha256 != NULL) {
        if (codec_unhex(m->sha256, sha256, SHA256_LEN) < 0)
            return err_set(err, ERR_INVALID_FILE_METADATA, EINVAL,
                           "sha256: expected 64 hex digits");
        target.sha256 = sha256;
    }
    if (rc == 0)
        rc = api_path(http_req_arena(upload_form_req(f->form)), m->path, &target.path, err);
    return rc < 0 ? rc : upload_form_begin(f->form, &target, err);
}

static int on_part(void *arg, const struct multipart_part *part, struct err *err)
{
    struct pairs *f = arg;

    f->kind = PART_OTHER;
    if (part->filename == NULL)
        return 0; /* a plain field: not ours (contracts/execd.md 1.10) */
    if (strcmp(part->name, "metadata") == 0) {
        f->kind = PART_METADATA;
        strbuf_reset(&f->text);
        return 0;
    }
    if (strcmp(part->name, "file") != 0)
        return 0;
    f->kind = PART_FILE;
    int rc = begin_file(f, err);
    f->n_files++;
    return rc;
}

static int on_part_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct pairs *f = arg;

    if (f->kind == PART_FILE)
        return upload_form_write(f->form, p, n, err);
    if (f->kind == PART_METADATA)
        strbuf_add(&f->text, p, n);
    return 0;
}

static int take_metadata(struct pairs *f, struct err *err)
{
    struct metadata m;
    struct err detail = {0};

    if (strbuf_check(&f->text) < 0)
        return err_set(err, ERR_INVALID_FILE_METADATA, E2BIG, "metadata is longer than %d bytes",
                       METADATA_MAX);
    if (jfield_decode_text(metadata_fields, ARRAY_LEN(metadata_fields), f->text.data, f->text.len,
                           false, &m, http_req_arena(upload_form_req(f->form)),
                           ERR_INVALID_FILE_METADATA, NULL, &detail) < 0)
        return err_set(err, ERR_INVALID_FILE_METADATA, EINVAL, "invalid metadata format. %s",
                       detail.text);
    if (m.path == NULL || m.path[0] == '\0')
        return err_set(err, ERR_INVALID_FILE_METADATA, EINVAL, "metadata path is empty");
    if (f->n_metadata == PAIRS_MAX)
        return err_set(err, ERR_INVALID_FILE, E2BIG, "more than %d files", PAIRS_MAX);
    struct metadata *grown = realloc(f->pending, (f->n_metadata + 1) * sizeof(*grown));
    if (grown == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the form");
    f->pending = grown;
    f->pending[f->n_metadata++] = m;
    return 0;
}

static int on_part_end(void *arg, struct err *err)
{
    struct pairs *f = arg;

    if (f->kind == PART_METADATA)
        return take_metadata(f, err);
    if (f->kind == PART_FILE)
        upload_form_commit(f->form);
    return 0;
}

static int on_whole(void *arg, struct err *err)
{
    const struct pairs *f = arg;

    if (f->n_metadata == 0 && f->n_files == 0)
        return err_set(err, ERR_INVALID_FILE, EINVAL, "multipart form is empty");
    if (f->n_files == 0)
        return err_set(err, ERR_INVALID_FILE_CONTENT, EINVAL, "file is missing");
    if (f->n_metadata != f->n_files)
        return err_set(err, ERR_INVALID_FILE, EINVAL,
                       "metadata and file count mismatch: %zu vs %zu", f->n_metadata, f->n_files);
    return 0;
}

static void answer(void *arg, struct http_req *req)
{
    (void)arg;
    (void)http_resp_empty(req, 200);
}

static void pairs_free(void *arg)
{
    struct pairs *f = arg;

    strbuf_done(&f->text);
    free(f->pending);
    free(f);
}

enum http_result h_file_upload(struct http_req *req, void *app)
{
    static const struct upload_form_ops ops = {on_part,  on_part_data, on_part_end,
                                               on_whole, answer,       pairs_free};
    struct api *api = app;
    struct pairs *f = xnew(struct pairs);

    strbuf_init(&f->text, METADATA_MAX);
    return upload_form_receive(req, api->pool, 2 * PAIRS_MAX + 16, &ops, f, &f->form);
}

enum http_result h_upload_state(struct http_req *req, void *app)
{
    const char *given = http_req_query(req, "path", 0);
    struct err err = {0};
    const char *path;
    uint64_t size;

    (void)app;
    if (given == NULL)
        return http_resp_fail(req, ERR_MISSING_QUERY, "missing query parameter 'path'");
    if (api_path(http_req_arena(req), given, &path, &err) < 0 ||
        upload_part_size(path, &size, &err) < 0)
        return http_resp_error(req, &err);
    return http_resp_json(req, 200, json_pack("{s:I}", "offset", (json_int_t)size));
}
