#include "execd/files/move.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/files/copy.h"
#include "execd/files/job.h"
#include "execd/files/remove.h"
#include "proto/api/errors.h"

static int fail_rename(const struct move_item *item, int errnum, struct err *err)
{
    switch (errnum) {
    case EEXIST:
    case ENOTEMPTY:
        return err_set(err, ERR_FILE_EXISTS, errnum, "destination path already exists: %s",
                       item->dest);
    case EINVAL:
        return err_set(err, ERR_INVALID_PATH, errnum, "'%s' cannot be moved into itself",
                       item->src);
    case EBUSY:
        return err_set(err, ERR_FILE_PROTECTED, errnum, "'%s' is a mount point", item->src);
    default:
        return place_fail(err, errnum, "move", item->src);
    }
}

static void close_all(struct move_item *item)
{
    copier_free(item->copier);
    remover_free(item->remover);
    item->copier = NULL;
    item->remover = NULL;
    place_done(&item->from);
    place_done(&item->to);
    item->phase = MOVE_OVER;
}

/* One name, or the beginning of the removal of a tree. */
static int begin_remove(struct move_item *item, int dir_fd, const char *name, struct err *err)
{
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? FILE_DONE : place_fail(err, errno, "look at", item->src);
    if (!S_ISDIR(st.st_mode))
        return unlinkat(dir_fd, name, 0) < 0 ? place_fail(err, errno, "remove", item->src)
                                             : FILE_DONE;
    int rc = remover_new(dir_fd, name, &item->remover, err);
    return rc < 0 ? rc : FILE_MORE;
}

static int begin_copy(struct move_item *item, struct err *err)
{
    temp_name(item->temp);
    item->phase = MOVE_COPY;
    int rc = copier_new(&item->from, item->to.dir_fd, item->temp, &item->copier, err);
    return rc < 0 ? rc : FILE_MORE;
}

static int begin(struct move_item *item, struct err *err)
{
    struct stat st;

    item->from = item->to = PLACE_UNSET;
    item->phase = MOVE_OVER;
    int rc = place_find(item->src, 0, NULL, &item->from, err);
    if (rc < 0)
        return rc;
    if (fstatat(item->from.dir_fd, item->from.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return place_fail(err, errno, "look at", item->src);
    if (item->from.name[0] == '.' && item->from.name[1] == '\0')
        return err_set(err, ERR_FILE_PROTECTED, EBUSY, "'/' is not moved");
    rc = place_find(item->dest, PLACE_MKDIRS, NULL, &item->to, err);
    if (rc < 0)
        return rc;
    rc = temp_rename(item->from.dir_fd, item->from.name, item->to.dir_fd, item->to.name);
    if (rc == 0)
        return FILE_DONE;
    if (rc != -EXDEV)
        return fail_rename(item, -rc, err);
    if (fstatat(item->to.dir_fd, item->to.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail_rename(item, EEXIST, err); /* said before the copy, not behind it */
    return begin_copy(item, err);
}

static int go_on_copy(struct move_item *item, struct err *err)
{
    int rc = copier_step(item->copier, err);

    if (rc != FILE_DONE)
        return rc;
    rc = temp_rename(item->to.dir_fd, item->temp, item->to.dir_fd, item->to.name);
    if (rc < 0)
        return fail_rename(item, -rc, err);
    item->phase = MOVE_REMOVE;
    return begin_remove(item, item->from.dir_fd, item->from.name, err);
}

static int step(void *arg, struct err *err)
{
    struct move_item *item = arg;
    int rc = item->phase == MOVE_NEW    ? begin(item, err)
             : item->phase == MOVE_COPY ? go_on_copy(item, err)
                                        : remover_step(item->remover, err);

    if (rc == FILE_DONE)
        close_all(item);
    return rc;
}

/* A copy that is not in place yet is taken back; one that is, stays: then the rest of the source goes. */
static int undo(void *arg)
{
    struct move_item *item = arg;
    int rc = FILE_DONE;

    if (item->phase == MOVE_COPY) {
        item->phase = MOVE_DISCARD;
        copier_free(item->copier);
        item->copier = NULL;
        rc = begin_remove(item, item->to.dir_fd, item->temp, NULL);
    } else if (item->remover != NULL) {
        rc = remover_step(item->remover, NULL);
    }
    if (rc == FILE_MORE)
        return FILE_MORE;
    if (item->phase != MOVE_NEW)
        close_all(item);
    return FILE_DONE;
}

static void done(void *arg)
{
    struct move_item *item = arg;

    if (item->phase != MOVE_NEW)
        close_all(item);
}

const struct file_op move_op = {
    .size = sizeof(struct move_item), .step = step, .undo = undo, .done = done};
