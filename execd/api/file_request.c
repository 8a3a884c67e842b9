#include "execd/api/file_request.h"

#include <errno.h>
#include <stdlib.h>

#include "execd/api/paths.h"
#include "execd/files/info.h"
#include "proto/api/errors.h"
#include "proto/json/jfield.h"
#include "proto/http/resp.h"

struct waiting {
    struct http_req *req;
    struct file_job *job; /* owned */
    void (*answer)(struct http_req *req, struct file_job *job);
};

static void on_close(void *arg)
{
    struct waiting *w = arg;

    file_job_free(w->job);
    free(w);
}

static void on_done(void *arg, const struct err *err)
{
    struct waiting *w = arg;

    if (err != NULL)
        (void)http_resp_error(w->req, err); /* H_DONE: nobody to hand it to */
    else if (w->answer != NULL)
        w->answer(w->req, w->job);
    else
        (void)http_resp_empty(w->req, 200);
}

enum http_result file_request_refuse(struct http_req *req, struct file_job *job,
                                     const struct err *err)
{
    file_job_free(job);
    return http_resp_error(req, err);
}

enum http_result file_request_run(struct http_req *req, struct work_pool *pool,
                                  struct file_job *job,
                                  void (*answer)(struct http_req *req, struct file_job *job))
{
    struct waiting *w = xnew(struct waiting);
    struct err err = {0};

    *w = (struct waiting){req, job, answer};
    if (file_job_start(job, pool, on_done, w, &err) < 0) {
        free(w);
        return file_request_refuse(req, job, &err);
    }
    http_req_on_close(req, on_close, w);
    return H_WAIT;
}

int file_request_bad_body(struct err *err)
{
    return err_wrap(err, "error parsing request, MAYBE invalid body format. ");
}

int file_request_entries(struct http_req *req, struct file_job *job, file_entry_fn take,
                         struct err *err)
{
    struct slice body = http_req_body(req);
    cleanup_json json_t *object = NULL;
    const char *key;
    json_t *value;

    int rc = json_parse(body.ptr, body.len, &object, ERR_INVALID_REQUEST_BODY, err);
    if (rc == 0 && !json_is_object(object))
        rc = err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "expected an object of paths");
    if (rc < 0)
        return file_request_bad_body(err);
    json_object_foreach(object, key, value)
    {
        const char *path;
        rc = api_path(file_job_arena(job), key, &path, err);
        if (rc == 0)
            rc = take(job, key, path, value, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int file_request_mode(bool has, int64_t digits, int *ret_mode, struct err *err)
{
    unsigned mode;

    *ret_mode = -1;
    if (!has || digits == 0)
        return 0;
    if (file_mode_from_digits(digits, &mode) < 0)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "mode %lld: expected octal digits such as 644 or 755", (long long)digits);
    *ret_mode = (int)(mode & 0777);
    return 0;
}
