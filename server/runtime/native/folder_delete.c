/*
 * Deleting a tree that a hostile owner filled: by descriptor, never following a link, no deeper on our stack than
 * the stack allows (directories are emptied by moving their sub-directories up).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "proto/base/fd.h"
#include "server/runtime/native/folder.h"

#define DEPTH_MAX 64 /* deeper directories are moved up to the top and deleted from there */

struct deletion {
    int top;             /* borrowed; where deep directories are moved to */
    unsigned long moved; /* names of the moved */
    bool again;          /* something was moved up: the top must be read again */
};

/* A sandbox's user may have taken away its own permissions or set flags; root only needs the flags gone. */
static int unlink_hard(int dir, const char *name, int flags)
{
    if (unlinkat(dir, name, flags) == 0 || errno == ENOENT)
        return 0;
    int errnum = errno;
    if (errnum != EPERM)
        return -errnum;
    cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int none = 0;
    if (fd < 0 || ioctl(fd, FS_IOC_SETFLAGS, &none) < 0)
        return -errnum;
    return unlinkat(dir, name, flags) == 0 ? 0 : -errno;
}

static int delete_below(struct deletion *d, int parent, const char *name, int depth);

static int delete_entry(struct deletion *d, int dir, const struct dirent *entry, int depth)
{
    char moved[32];

    int rc = entry->d_type == DT_DIR ? -EISDIR : unlink_hard(dir, entry->d_name, 0);
    if (rc != -EISDIR)
        return rc;
    if (depth < DEPTH_MAX)
        return delete_below(d, dir, entry->d_name, depth + 1);
    snprintf(moved, sizeof(moved), ".deep-%lu", d->moved++);
    d->again = true;
    return renameat(dir, entry->d_name, d->top, moved) == 0 ? 0 : -errno;
}

static int empty_dir(struct deletion *d, int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *entry;
    int first = 0;

    if (dir == NULL) {
        close(fd);
        return -ENOMEM;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int rc = delete_entry(d, dirfd(dir), entry, depth);
        if (first == 0)
            first = rc;
    }
    closedir(dir);
    return first;
}

static int delete_below(struct deletion *d, int parent, const char *name, int depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int rc = empty_dir(d, fd, depth);
    return rc < 0 ? rc : unlink_hard(parent, name, AT_REMOVEDIR);
}

int folder_delete(int sandboxes_fd, const char *id)
{
    cleanup_fd int top = openat(sandboxes_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct deletion d = {.top = top};

    if (top < 0)
        return errno == ENOENT ? 0 : -errno;
    do {
        d.again = false;
        int copy = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int rc = copy < 0 ? -errno : empty_dir(&d, copy, 0);
        if (rc < 0)
            return rc;
    } while (d.again);
    return unlinkat(sandboxes_fd, id, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}
