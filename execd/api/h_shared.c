/*
 * Shared files: listed, read, deleted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "execd/api/file_request.h"
#include "execd/api/send_file.h"
#include "execd/api/shared.h"
#include "execd/files/remove.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/path.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"

/* ---- list ---- */

#define NAMES_BYTES_MAX (8U << 20)
#define NAMES_PER_SLICE 256

struct listing {
    int fd;      /* owned; -1 once the folder has it */
    DIR *folder; /* owned */
    struct strbuf json;
    size_t n;
};

static int too_many(struct err *err)
{
    return err_set(err, ERR_FILE_TOO_LARGE, E2BIG, "more than %d names in the shared folder",
                   SHARED_NAMES_MAX);
}

static int list_step(void *item, struct err *err)
{
    struct listing *l = item;

    if (l->folder == NULL) {
        l->folder = fdopendir(l->fd);
        if (l->folder == NULL)
            return err_sys(err, ERR_FILE_ACCESS, errno, "read the shared folder");
        l->fd = -1;
        strbuf_init(&l->json, NAMES_BYTES_MAX);
        strbuf_addc(&l->json, '[');
    }
    for (int i = 0; i < NAMES_PER_SLICE; i++) {
        const struct dirent *entry = readdir(l->folder);
        if (entry == NULL) {
            strbuf_addc(&l->json, ']');
            return strbuf_check(&l->json) < 0 ? too_many(err) : FILE_DONE;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (l->n++ == SHARED_NAMES_MAX)
            return too_many(err);
        strbuf_adds(&l->json, l->n > 1 ? "," : "");
        json_escape(&l->json, entry->d_name, strlen(entry->d_name));
    }
    return FILE_MORE;
}

static void list_done(void *item)
{
    struct listing *l = item;

    if (l->folder != NULL)
        closedir(l->folder);
    if (l->fd >= 0)
        close(l->fd);
    strbuf_done(&l->json);
}

static const struct file_op list_op = {
    .size = sizeof(struct listing), .step = list_step, .done = list_done};

static void answer_list(struct http_req *req, struct file_job *job)
{
    const struct listing *l = file_job_item(job, 0);

    (void)http_resp_data(req, 200, "application/json", l->json.data, l->json.len);
}

enum http_result h_shared_list(struct http_req *req, void *app)
{
    struct file_job *job = file_job_new(&list_op);
    struct err err = {0};
    struct listing *l = file_job_add(job, &err);

    if (l == NULL || (l->fd = shared_open_root(app, &err)) < 0)
        return file_request_refuse(req, job, &err);
    return file_request_run(req, shared_pool(app), job, answer_list);
}

/* ---- read ---- */

/* No link is followed; what was looked at is what is opened. */
static int open_shared(struct shared_server *server, const char *name, struct file_source *source,
                       struct err *err)
{
    char place[64];

    int rc = shared_check_name(name, err);
    if (rc < 0)
        return rc;
    cleanup_fd int root = shared_open_root(server, err);
    if (root < 0)
        return root;
    cleanup_fd int found = path_open_beneath(root, name, O_PATH | O_CLOEXEC, 0);
    if (found < 0)
        return err_sys(err, ERR_FILE_NOT_FOUND, -found, "file not found. '%.200s'", name);
    snprintf(place, sizeof(place), "/proc/self/fd/%d", found);
    return file_source_open(place, source, err);
}

enum http_result h_shared_read(struct http_req *req, void *app)
{
    struct file_source source = {.fd = -1};
    struct err err = {0};

    if (open_shared(app, http_req_param(req, "filename"), &source, &err) < 0)
        return http_resp_error(req, &err);
    const struct send_part part = {.status = 200, .length = (uint64_t)source.st.st_size};
    return api_send_file(req, shared_pool(app), &source, &part);
}

/* ---- delete ---- */

static void answer_delete(struct http_req *req, struct file_job *job)
{
    (void)job;
    (void)http_resp_json(
        req, 200,
        json_pack("{s:s, s:s}", "status", "deleted", "filename", http_req_param(req, "filename")));
}

/* Removing tolerates what is missing; this route answers 404 instead. */
static int check_there(struct shared_server *server, const char *name, struct err *err)
{
    int rc = shared_check_name(name, err);
    if (rc < 0)
        return rc;
    cleanup_fd int root = shared_open_root(server, err);
    if (root < 0)
        return root;
    if (faccessat(root, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, ERR_FILE_NOT_FOUND, errno, "file not found. '%.200s'", name);
    return 0;
}

enum http_result h_shared_delete(struct http_req *req, void *app)
{
    const char *name = http_req_param(req, "filename");
    struct file_job *job = file_job_new(&remove_op);
    struct err err = {0};

    int rc = check_there(app, name, &err);
    struct remove_item *item = rc == 0 ? file_job_add(job, &err) : NULL;
    if (item == NULL)
        return file_request_refuse(req, job, &err);
    item->path = arena_printf(file_job_arena(job), "%s/%s", shared_root(app), name);
    if (item->path == NULL) {
        (void)err_set(&err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the path");
        return file_request_refuse(req, job, &err);
    }
    return file_request_run(req, shared_pool(app), job, answer_delete);
}
