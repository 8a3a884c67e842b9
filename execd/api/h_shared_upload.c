/*
 * Shared files, written: a form with one part `file`, under the name that it brings or the one in the path.
 */
#include <errno.h>
#include <string.h>

#include "execd/api/shared.h"
#include "execd/files/upload.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/http/multipart.h"
#include "proto/http/resp.h"

#define PARTS_MAX 16

/* Lives until the request is over and the pool has put the file in place, whichever comes last. */
struct form {
    struct http_req *req; /* NULL once the request is over */
    struct shared_server *server;
    struct multipart *parser; /* owned */
    struct upload *upload;    /* owned; while the file's bytes come */
    const char *name;         /* owned; NULL until it is known */
    bool in_file, had_file, committing, body_ended, failed;
    struct err err; /* when failed */
    const char *status;
};

static void form_free(struct form *f)
{
    multipart_free(f->parser);
    upload_abort(f->upload);
    free((char *)f->name);
    free(f);
}

static void finish(struct form *f)
{
    struct http_req *req = f->req;

    if (f->committing || !f->body_ended)
        return;
    if (req != NULL)
        http_req_on_close(req, NULL, NULL);
    if (req != NULL && f->failed)
        (void)http_resp_error(req, &f->err);
    else if (req != NULL)
        (void)http_resp_json(req, 200,
                             json_pack("{s:s, s:s}", "status", f->status, "filename", f->name));
    form_free(f);
}

static void fail(struct form *f, const struct err *err)
{
    if (!f->failed)
        f->err = *err;
    f->failed = true;
}

static int begin_file(struct form *f, const char *filename, struct err *err)
{
    if (f->had_file)
        return err_set(err, ERR_INVALID_FILE, EINVAL, "one part `file` is taken, not several");
    f->had_file = f->in_file = true;
    if (f->name == NULL) {
        int rc = shared_check_name(filename, err);
        if (rc < 0)
            return rc;
        f->name = xstrdup(filename);
    }
    char *path = xasprintf("%s/%s", shared_root(f->server), f->name);
    const struct upload_target target = {.path = path, .mode = -1};
    int rc = upload_begin(&target, &f->upload, err);
    free(path);
    return rc;
}

static int on_part(void *arg, const struct multipart_part *part, struct err *err)
{
    struct form *f = arg;

    f->in_file = false;
    if (part->filename == NULL || strcmp(part->name, "file") != 0)
        return 0;
    return begin_file(f, part->filename, err);
}

static int on_part_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct form *f = arg;

    return f->in_file ? upload_write(f->upload, p, n, err) : 0;
}

static int on_part_end(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    return 0; /* put in place when the form is whole */
}

static const struct multipart_ops part_ops = {on_part, on_part_data, on_part_end};

static void on_committed(void *arg, const struct err *err)
{
    struct form *f = arg;

    f->committing = false;
    if (err != NULL)
        fail(f, err);
    finish(f);
}

static int on_body(void *arg, const char *p, size_t n, struct err *err)
{
    struct form *f = arg;

    int rc = multipart_feed(f->parser, p, n, err);
    if (rc < 0)
        fail(f, err);
    return rc;
}

static void on_body_end(void *arg, const struct err *broken)
{
    struct form *f = arg;
    struct err err = {0};

    f->body_ended = true;
    if (broken != NULL)
        fail(f, broken);
    else if (multipart_finish(f->parser, &err) < 0)
        fail(f, &err);
    else if (!f->had_file) {
        (void)err_set(&err, ERR_INVALID_FILE_CONTENT, EINVAL, "the part `file` is missing");
        fail(f, &err);
    }
    if (!f->failed) {
        f->committing = true;
        upload_commit(take_ptr(&f->upload), shared_pool(f->server), on_committed, f);
        return;
    }
    finish(f);
}

static void on_gone(void *arg)
{
    struct form *f = arg;

    f->req = NULL;
    f->body_ended = true;
    finish(f);
}

static enum http_result receive(struct http_req *req, struct shared_server *server,
                                const char *name, const char *status)
{
    static const struct http_body_ops ops = {on_body, on_body_end};
    const char *type = http_req_header(req, "Content-Type");
    struct form *f = xnew(struct form);
    struct err err = {0};

    *f = (struct form){.req = req,
                       .server = server,
                       .name = name != NULL ? xstrdup(name) : NULL,
                       .status = status};
    if ((name != NULL && shared_check_name(name, &err) < 0) ||
        multipart_new(type != NULL ? type : "", PARTS_MAX, &part_ops, f, &f->parser, &err) < 0) {
        form_free(f);
        return http_resp_error(req, &err);
    }
    http_req_on_close(req, on_gone, f);
    http_req_read_body(req, &ops, f);
    return H_WAIT;
}

enum http_result h_shared_upload(struct http_req *req, void *app)
{
    return receive(req, app, NULL, "uploaded");
}

enum http_result h_shared_overwrite(struct http_req *req, void *app)
{
    return receive(req, app, http_req_param(req, "filename"), "overwritten");
}
