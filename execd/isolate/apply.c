#include "execd/isolate/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "execd/isolate/store.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"

#define COPY_STEP (8U << 20)

static int failed(const struct layer_entry *e, int errnum, struct err *err)
{
    return err_sys(err, 0, errnum, "commit '%.150s'", e->path);
}

/* What is mounted would be written over, hidden or carried away unseen. */
static int busy(const struct layer_entry *e, struct err *err)
{
    return err_set(err, 0, EBUSY, "commit '%.150s': something is mounted %s", e->path,
                   e->is_covered ? "there" : "inside");
}

static int remove_at(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    return errno == EISDIR || errno == EPERM ? store_remove_tree(dir, name, 0) : -errno;
}

static int remove_hidden(void *arg, const struct layer_entry *e, int lower_dir, const char *name,
                         struct err *err)
{
    (void)arg;
    if (e->is_covered || e->holds_mount)
        return busy(e, err);
    int rc = remove_at(lower_dir, name);
    return rc < 0 ? failed(e, -rc, err) : 0;
}

static int remove_lower(const struct layer_entry *e, struct err *err)
{
    int rc = remove_at(e->lower_dir, e->name);

    return rc < 0 ? failed(e, -rc, err) : 1;
}

/* Shared blocks where both lie on one file system; the kernel refuses others at the first call. */
static int copy_bytes(int from, int to)
{
    bool across = false;

    for (;;) {
        ssize_t n = across ? sendfile(to, from, NULL, COPY_STEP)
                           : copy_file_range(from, NULL, to, NULL, COPY_STEP, 0);
        if (n == 0)
            return 0;
        if (n < 0 && !across && errno != EINTR && errno != ENOSPC && errno != EIO)
            across = true;
        else if (n < 0 && errno != EINTR)
            return -errno;
    }
}

/* Owner, mode and time of the upper one. */
static int copy_facts(int fd, const struct stat *st)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};

    if (fchown(fd, st->st_uid, st->st_gid) < 0 || fchmod(fd, st->st_mode & 07777) < 0 ||
        futimens(fd, times) < 0)
        return -errno;
    return 0;
}

static int fill_file(const struct layer_entry *e, const char *temp)
{
    cleanup_fd int from =
        openat(e->upper_dir, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    cleanup_fd int to = openat(e->lower_dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (from < 0 || to < 0)
        return -errno;
    int rc = copy_bytes(from, to);
    return rc == 0 ? copy_facts(to, &e->upper) : rc;
}

static int fill_link(const struct layer_entry *e, const char *temp)
{
    const struct timespec times[2] = {e->upper.st_atim, e->upper.st_mtim};
    char target[PATH_MAX];

    ssize_t n = readlinkat(e->upper_dir, e->name, target, sizeof(target) - 1);
    if (n < 0)
        return -errno;
    target[n] = '\0';
    if (symlinkat(target, e->lower_dir, temp) < 0 ||
        fchownat(e->lower_dir, temp, e->upper.st_uid, e->upper.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        utimensat(e->lower_dir, temp, times, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

/* Beside its place first: nobody ever sees half of it. */
static int replace(const struct layer_entry *e, struct err *err)
{
    char temp[ID_HEX_LEN + 16], id[ID_HEX_LEN + 1];

    ids_hex(id);
    (void)snprintf(temp, sizeof(temp), ".execd-%s", id); /* fits */
    int rc = S_ISLNK(e->upper.st_mode) ? fill_link(e, temp) : fill_file(e, temp);
    if (rc == 0 && e->has_lower && S_ISDIR(e->lower.st_mode))
        rc = store_remove_tree(e->lower_dir, e->name, 0);
    if (rc == 0 && renameat(e->lower_dir, temp, e->lower_dir, e->name) < 0)
        rc = -errno;
    if (rc == 0)
        return 1;
    (void)unlinkat(e->lower_dir, temp, 0); /* it may not be there */
    return failed(e, -rc, err);
}

static int make_dir(const struct layer_entry *e, struct err *err)
{
    bool is_dir = e->has_lower && S_ISDIR(e->lower.st_mode);

    if (e->has_lower && !is_dir && unlinkat(e->lower_dir, e->name, 0) < 0)
        return failed(e, errno, err);
    if (!is_dir && mkdirat(e->lower_dir, e->name, 0700) < 0)
        return failed(e, errno, err);
    cleanup_fd int fd =
        openat(e->lower_dir, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = fd < 0 ? -errno : copy_facts(fd, &e->upper);
    return rc < 0 ? failed(e, -rc, err) : 1;
}

int apply_entry(const struct layer_entry *e, bool *ret_skipped, struct err *err)
{
    bool is_dir = S_ISDIR(e->upper.st_mode);
    int rc = 0;

    *ret_skipped = false;
    if (is_dir && e->opaque && e->has_lower && S_ISDIR(e->lower.st_mode))
        rc = layer_each_hidden(e, remove_hidden, NULL, err);
    if (rc < 0 || e->kind == LAYER_SAME)
        return rc;
    if (e->is_covered || (e->holds_mount && !is_dir))
        return busy(e, err);
    if (e->lower_dir < 0)
        return failed(e, ENOENT, err);
    if (e->kind == LAYER_DELETED)
        return remove_lower(e, err);
    if (is_dir)
        return make_dir(e, err);
    if (S_ISREG(e->upper.st_mode) || S_ISLNK(e->upper.st_mode))
        return replace(e, err);
    *ret_skipped = true;
    return 0;
}
