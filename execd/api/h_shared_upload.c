/*
 * Shared files, written: a form with one part `file`, under the name that it brings or the one in the path. It is put in
 * place when the form is whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execd/api/shared.h"
#include "execd/api/upload_form.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"

#define PARTS_MAX 16

struct shared_file {
    struct upload_form *form; /* borrowed: it owns us */
    struct shared_server *server;
    char *name; /* owned; NULL until it is known */
    bool in_file, had_file;
    const char *status; /* what the answer says was done */
};

static int begin_file(struct shared_file *f, const char *filename, struct err *err)
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
    int rc = upload_form_begin(f->form, &target, err);
    free(path);
    return rc;
}

static int on_part(void *arg, const struct multipart_part *part, struct err *err)
{
    struct shared_file *f = arg;

    f->in_file = false;
    if (part->filename == NULL || strcmp(part->name, "file") != 0)
        return 0;
    return begin_file(f, part->filename, err);
}

static int on_part_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct shared_file *f = arg;

    return f->in_file ? upload_form_write(f->form, p, n, err) : 0;
}

static int on_part_end(void *arg, struct err *err)
{
    (void)arg;
    (void)err;
    return 0;
}

static int on_whole(void *arg, struct err *err)
{
    struct shared_file *f = arg;

    if (!f->had_file)
        return err_set(err, ERR_INVALID_FILE_CONTENT, EINVAL, "the part `file` is missing");
    upload_form_commit(f->form);
    return 0;
}

static void answer(void *arg, struct http_req *req)
{
    const struct shared_file *f = arg;

    (void)http_resp_json(req, 200,
                         json_pack("{s:s, s:s}", "status", f->status, "filename", f->name));
}

static void shared_file_free(void *arg)
{
    struct shared_file *f = arg;

    free(f->name);
    free(f);
}

static enum http_result receive(struct http_req *req, struct shared_server *server,
                                const char *name, const char *status)
{
    static const struct upload_form_ops ops = {on_part,  on_part_data, on_part_end,
                                               on_whole, answer,       shared_file_free};
    struct err err = {0};

    if (name != NULL && shared_check_name(name, &err) < 0)
        return http_resp_error(req, &err);
    struct shared_file *f = xnew(struct shared_file);
    *f = (struct shared_file){
        .server = server, .name = name != NULL ? xstrdup(name) : NULL, .status = status};
    return upload_form_receive(req, shared_pool(server), PARTS_MAX, &ops, f, &f->form);
}

enum http_result h_shared_upload(struct http_req *req, void *app)
{
    return receive(req, app, NULL, "uploaded");
}

enum http_result h_shared_overwrite(struct http_req *req, void *app)
{
    return receive(req, app, http_req_param(req, "filename"), "overwritten");
}
