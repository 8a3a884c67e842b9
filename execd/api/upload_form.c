#include "execd/api/upload_form.h"

#include <stdlib.h>

#include "proto/base/mem.h"

struct upload_form {
    struct http_req *req;     /* NULL once the request is over */
    struct work_pool *pool;   /* borrowed */
    struct multipart *parser; /* owned */
    struct upload *upload;    /* owned; the file being read */
    const struct upload_form_ops *ops;
    void *arg;           /* owned through ops->free */
    unsigned committing; /* files in the pool */
    bool body_ended, failed;
    struct err err; /* the first failure */
};

static void form_free(struct upload_form *f)
{
    multipart_free(f->parser);
    upload_abort(f->upload);
    f->ops->free(f->arg);
    free(f);
}

static void fail(struct upload_form *f, const struct err *err)
{
    if (!f->failed)
        f->err = *err;
    f->failed = true;
}

static void finish(struct upload_form *f)
{
    struct http_req *req = f->req;

    if (f->committing > 0 || !f->body_ended)
        return;
    if (req != NULL) {
        http_req_on_close(req, NULL, NULL);
        if (f->failed)
            (void)http_resp_error(req, &f->err);
        else
            f->ops->answer(f->arg, req);
    }
    form_free(f);
}

/* ---- the body ------------------------------------------------------------------------------------ */

static int on_part(void *arg, const struct multipart_part *part, struct err *err)
{
    struct upload_form *f = arg;

    return f->ops->on_part(f->arg, part, err);
}

static int on_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct upload_form *f = arg;

    return f->ops->on_data(f->arg, p, n, err);
}

static int on_part_end(void *arg, struct err *err)
{
    struct upload_form *f = arg;

    return f->ops->on_part_end(f->arg, err);
}

static int on_body(void *arg, const char *p, size_t n, struct err *err)
{
    struct upload_form *f = arg;

    if (f->failed) { /* a file could not be put in place: no sense in taking more */
        *err = f->err;
        return -err->errnum;
    }
    int rc = multipart_feed(f->parser, p, n, err);
    if (rc < 0)
        fail(f, err);
    else if (f->committing > 0)
        http_req_pause_body(f->req);
    return rc;
}

static void on_body_end(void *arg, const struct err *broken)
{
    struct upload_form *f = arg;
    struct err err = {0};

    f->body_ended = true;
    if (broken != NULL)
        fail(f, broken);
    else if (!f->failed &&
             (multipart_finish(f->parser, &err) < 0 || f->ops->on_whole(f->arg, &err) < 0))
        fail(f, &err);
    upload_abort(take_ptr(&f->upload));
    finish(f);
}

static void on_gone(void *arg)
{
    struct upload_form *f = arg;

    f->req = NULL;
    f->body_ended = true;
    finish(f);
}

enum http_result upload_form_receive(struct http_req *req, struct work_pool *pool,
                                     unsigned parts_max, const struct upload_form_ops *ops,
                                     void *arg, struct upload_form **ret_form)
{
    static const struct multipart_ops parts = {on_part, on_data, on_part_end};
    static const struct http_body_ops body = {on_body, on_body_end};
    const char *type = http_req_header(req, "Content-Type");
    struct upload_form *f = xnew(struct upload_form);
    struct err err = {0};

    *f = (struct upload_form){.req = req, .pool = pool, .ops = ops, .arg = arg};
    if (multipart_new(type != NULL ? type : "", parts_max, &parts, f, &f->parser, &err) < 0) {
        form_free(f);
        return http_resp_error(req, &err);
    }
    *ret_form = f;
    http_req_on_close(req, on_gone, f);
    http_req_read_body(req, &body, f);
    return H_WAIT;
}

struct http_req *upload_form_req(const struct upload_form *f)
{
    return f->req;
}

/* ---- its files ----------------------------------------------------------------------------------- */

int upload_form_begin(struct upload_form *f, const struct upload_target *target, struct err *err)
{
    return upload_begin(target, &f->upload, err);
}

int upload_form_write(struct upload_form *f, const char *p, size_t n, struct err *err)
{
    return upload_write(f->upload, p, n, err);
}

static void on_committed(void *arg, const struct err *err)
{
    struct upload_form *f = arg;

    f->committing--;
    if (err != NULL)
        fail(f, err);
    if (f->committing == 0 && !f->body_ended && f->req != NULL)
        http_req_resume_body(f->req);
    finish(f);
}

void upload_form_commit(struct upload_form *f)
{
    f->committing++;
    upload_commit(take_ptr(&f->upload), f->pool, on_committed, f);
}
