#include "execd/files/attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "execd/files/job.h"
#include "proto/api/errors.h"
#include "proto/base/cleanup.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* Linux 6.6; the same number everywhere but on alpha */
#endif
#define MKDIR_MODE 0755

/* fd is O_PATH: fchmod does not take it. */
static int change_mode(int fd, mode_t mode)
{
    char path[32];

    if (syscall(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != ENOSYS && errno != EPERM) /* EPERM: it may be a filter that speaks */
        return -errno;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd); /* fits */
    return chmod(path, mode) < 0 ? -errno : 0;
}

/* Owner first: a change of it clears set-id bits. */
static int apply(int fd, const struct attributes_item *item, struct err *err)
{
    if (owner_is_wished(&item->owner) &&
        fchownat(fd, "", item->owner.uid, item->owner.gid, AT_EMPTY_PATH) < 0)
        return place_fail(err, errno, "change the owner of", item->path);
    int rc = item->mode >= 0 ? change_mode(fd, (mode_t)item->mode) : 0;
    return rc < 0 ? place_fail(err, -rc, "change the mode of", item->path) : 0;
}

static int step_permissions(void *arg, struct err *err)
{
    const struct attributes_item *item = arg;
    cleanup_place struct place place = PLACE_UNSET;

    int rc = place_find(item->path, PLACE_FOLLOW, NULL, &place, err);
    if (rc < 0)
        return rc;
    cleanup_fd int fd = openat(place.dir_fd, place.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return place_fail(err, errno, "open", item->path);
    return apply(fd, item, err);
}

/* What is already there must be a folder. */
static int accept_existing(const struct attributes_item *item, struct err *err)
{
    cleanup_place struct place place = PLACE_UNSET;
    struct stat st;

    int rc = place_find(item->path, PLACE_FOLLOW, NULL, &place, err);
    if (rc < 0)
        return rc;
    if (fstatat(place.dir_fd, place.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return place_fail(err, errno, "look at", item->path);
    return S_ISDIR(st.st_mode) ? 0
                               : err_set(err, ERR_RUNTIME_ERROR, ENOTDIR,
                                         "'%s' exists and is not a directory", item->path);
}

static int step_mkdir(void *arg, struct err *err)
{
    const struct attributes_item *item = arg;
    cleanup_place struct place place = PLACE_UNSET;

    int rc = place_find(item->path, PLACE_MKDIRS, &item->owner, &place, err);
    if (rc < 0)
        return rc;
    if (mkdirat(place.dir_fd, place.name, MKDIR_MODE) < 0)
        return errno == EEXIST ? accept_existing(item, err)
                               : place_fail(err, errno, "make the folder", item->path);
    cleanup_fd int fd =
        openat(place.dir_fd, place.name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return place_fail(err, errno, "open", item->path);
    return apply(fd, item, err);
}

const struct file_op permissions_op = {.size = sizeof(struct attributes_item),
                                       .step = step_permissions};
const struct file_op mkdir_op = {.size = sizeof(struct attributes_item), .step = step_mkdir};
