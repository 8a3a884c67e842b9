#include "execd/files/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/files/job.h"
#include "proto/api/errors.h"
#include "proto/base/cleanup.h"
#include "proto/base/fd.h"

#define CHUNK (256 * 1024)
#define OUT_SIZE (64 * 1024) /* small pieces are gathered here */

static int check_source(const struct replace_item *item, struct err *err)
{
    if (S_ISDIR(item->st.st_mode))
        return err_set(err, ERR_FILE_KIND, EISDIR, "'%s' is a directory", item->path);
    if (!S_ISREG(item->st.st_mode))
        return err_set(err, ERR_FILE_KIND, EINVAL, "'%s' is not a regular file", item->path);
    if (item->old[0] == '\0')
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "old is empty for '%s'", item->path);
    if ((uint64_t)item->st.st_size > REPLACE_SIZE_MAX)
        return err_set(err, ERR_FILE_TOO_LARGE, EFBIG,
                       "'%s' has %lld bytes; replacing works up to %llu", item->path,
                       (long long)item->st.st_size, (unsigned long long)REPLACE_SIZE_MAX);
    return 0;
}

/* Looked at by O_PATH first: opening a FIFO or a device would have effects. */
static int open_source(struct replace_item *item, struct err *err)
{
    int rc = place_find(item->path, PLACE_FOLLOW, NULL, &item->place, err);
    if (rc < 0)
        return rc;
    item->begun = true;
    item->in = item->out = -1;
    if (fstatat(item->place.dir_fd, item->place.name, &item->st, AT_SYMLINK_NOFOLLOW) < 0)
        return place_fail(err, errno, "look at", item->path);
    rc = check_source(item, err);
    if (rc < 0)
        return rc;
    item->in = openat(item->place.dir_fd, item->place.name,
                      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    rc = item->in >= 0 ? place_check_writable(&item->place) : 0;
    if (rc < 0)
        return place_fail(err, -rc, "write", item->path);
    if (item->in < 0 || fstat(item->in, &item->st) < 0)
        return place_fail(err, errno, "open", item->path);
    return check_source(item, err);
}

static int begin(struct replace_item *item, struct err *err)
{
    int rc = open_source(item, err);
    if (rc < 0)
        return rc;
    rc = temp_make(item->place.dir_fd, item->temp, &item->out);
    if (rc < 0)
        return place_fail(err, -rc, "write beside", item->path);
    item->buffer = malloc(OUT_SIZE + CHUNK + strlen(item->old));
    item->text = item->buffer + OUT_SIZE;
    return item->buffer != NULL
               ? FILE_MORE
               : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for '%s'", item->path);
}

static int write_out(struct replace_item *item, const char *p, size_t n, struct err *err)
{
    int rc = fd_write_all(item->out, p, n);
    return rc < 0 ? place_fail(err, -rc, "write beside", item->path) : 0;
}

static int flush(struct replace_item *item, struct err *err)
{
    size_t n = item->out_len;

    item->out_len = 0;
    return write_out(item, item->buffer, n, err);
}

static int put(struct replace_item *item, const char *p, size_t n, struct err *err)
{
    item->written += n;
    if (item->written > REPLACE_RESULT_MAX)
        return err_set(err, ERR_FILE_TOO_LARGE, EFBIG,
                       "the result for '%s' is larger than %llu bytes", item->path,
                       (unsigned long long)REPLACE_RESULT_MAX);
    int rc = n > OUT_SIZE - item->out_len ? flush(item, err) : 0;
    if (rc < 0 || n > OUT_SIZE)
        return rc < 0 ? rc : write_out(item, p, n, err);
    memcpy(item->buffer + item->out_len, p, n);
    item->out_len += n;
    return 0;
}

/* Everything in the buffer that cannot be the beginning of a match goes out. */
static int replace_buffered(struct replace_item *item, bool at_end, struct err *err)
{
    size_t old_len = strlen(item->old), new_len = strlen(item->new), at = 0;
    const char *hit;
    int rc = 0;

    while (rc == 0 && item->len - at >= old_len &&
           (hit = memmem(item->text + at, item->len - at, item->old, old_len)) != NULL) {
        rc = put(item, item->text + at, (size_t)(hit - item->text) - at, err);
        if (rc == 0)
            rc = put(item, item->new, new_len, err);
        at = (size_t)(hit - item->text) + old_len;
        item->count++;
    }
    size_t keep = at_end ? 0 : MIN(item->len - at, old_len - 1);
    if (rc == 0)
        rc = put(item, item->text + at, item->len - at - keep, err);
    memmove(item->text, item->text + item->len - keep, keep);
    item->len = keep;
    return rc;
}

static bool changed(const struct replace_item *item)
{
    struct stat now, named;

    return fstat(item->in, &now) < 0 ||
           fstatat(item->place.dir_fd, item->place.name, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
           named.st_ino != item->st.st_ino || named.st_dev != item->st.st_dev ||
           now.st_size != item->st.st_size || now.st_mtim.tv_sec != item->st.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != item->st.st_mtim.tv_nsec;
}

static int finish(struct replace_item *item, struct err *err)
{
    if (item->count == 0)
        return FILE_DONE;
    int rc = flush(item, err);
    if (rc < 0)
        return rc;
    rc = temp_become(item->out, &item->st);
    if (rc < 0)
        return place_fail(err, -rc, "keep mode and owner of", item->path);
    if (fsync(item->out) < 0)
        return place_fail(err, errno, "flush", item->path);
    if (changed(item))
        return err_set(err, ERR_FILE_CHANGED, ESTALE, "'%s' was changed by somebody else meanwhile",
                       item->path);
    if (renameat(item->place.dir_fd, item->temp, item->place.dir_fd, item->place.name) < 0)
        return place_fail(err, errno, "put in place", item->path);
    item->temp[0] = '\0';
    return FILE_DONE;
}

static void done(void *arg)
{
    struct replace_item *item = arg;

    if (!item->begun)
        return;
    if (item->temp[0] != '\0')
        (void)unlinkat(item->place.dir_fd, item->temp, 0); /* best effort */
    item->temp[0] = '\0';
    guard_fd(&item->in);
    guard_fd(&item->out);
    item->in = item->out = -1;
    free(item->buffer);
    item->buffer = NULL;
    place_done(&item->place);
}

static int step(void *arg, struct err *err)
{
    struct replace_item *item = arg;

    if (!item->begun)
        return begin(item, err);
    ssize_t n = read(item->in, item->text + item->len, CHUNK);
    if (n < 0)
        return place_fail(err, errno, "read", item->path);
    item->len += (size_t)n;
    int rc = replace_buffered(item, n == 0, err);
    if (rc < 0 || n > 0)
        return rc < 0 ? rc : FILE_MORE;
    rc = finish(item, err);
    if (rc == FILE_DONE)
        done(item); /* of ten thousand files only one is open */
    return rc;
}

static int undo(void *arg)
{
    done(arg);
    return FILE_DONE;
}

const struct file_op replace_op = {
    .size = sizeof(struct replace_item), .step = step, .undo = undo, .done = done};
