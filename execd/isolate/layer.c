#include "execd/isolate/layer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "execd/files/walk.h"
#include "proto/base/fd.h"
#include "proto/base/path.h"

static bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static bool is_opaque(int dir, const char *name)
{
    static const char *const marks[] = {"trusted.overlay.opaque", "user.overlay.opaque"};
    cleanup_fd int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char value[2];

    for (size_t i = 0; fd >= 0 && i < ARRAY_LEN(marks); i++)
        if (fgetxattr(fd, marks[i], value, sizeof(value)) == 1 && value[0] == 'y')
            return true;
    return false;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    if (a->st_mode != b->st_mode || a->st_uid != b->st_uid || a->st_gid != b->st_gid)
        return false;
    return S_ISDIR(a->st_mode) ||
           (a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
            a->st_mtim.tv_nsec == b->st_mtim.tv_nsec);
}

static enum layer_kind classify(const struct layer_entry *e)
{
    if (is_whiteout(&e->upper))
        return e->has_lower ? LAYER_DELETED : LAYER_SAME;
    if (!e->has_lower)
        return LAYER_ADDED;
    return is_same(&e->upper, &e->lower) ? LAYER_SAME : LAYER_MODIFIED;
}

static int open_parent(int lower_fd, const char *path)
{
    char parent[PATH_MAX];
    size_t len = (size_t)(path_basename(path) - path);

    if (len == 0)
        return fd_dup_cloexec(lower_fd);
    memcpy(parent, path, len - 1); /* without the slash */
    parent[len - 1] = '\0';
    return path_open_beneath(lower_fd, parent, O_PATH | O_DIRECTORY, 0);
}

static int look(int lower_fd, const struct walk_entry *w, layer_visit_fn visit, void *arg,
                struct err *err)
{
    struct layer_entry e = {.path = w->path, .name = w->name, .upper_dir = w->dir_fd};

    if (fstatat(w->dir_fd, w->name, &e.upper, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, 0, errno, "'%.150s'", w->path);
    cleanup_fd int parent = open_parent(lower_fd, w->path);
    e.lower_dir = parent >= 0 ? parent : -1;
    e.has_lower = parent >= 0 && fstatat(parent, w->name, &e.lower, AT_SYMLINK_NOFOLLOW) == 0;
    e.opaque = S_ISDIR(e.upper.st_mode) && is_opaque(w->dir_fd, w->name);
    e.kind = classify(&e);
    return visit(arg, &e, err);
}

int layer_each(const char *lower, const char *upper, layer_visit_fn visit, void *arg,
               struct err *err)
{
    cleanup_fd int lower_fd = open(lower, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct walk_entry entry;
    enum walk_result step;
    struct walk *walk;

    if (lower_fd < 0)
        return err_sys(err, 0, errno, "open '%.150s'", lower);
    int rc = walk_new(upper, &walk);
    if (rc < 0)
        return err_sys(err, 0, -rc, "open '%.150s'", upper);
    while (rc >= 0 && (step = walk_next(walk, &entry)) != WALK_END)
        if (step == WALK_ENTRY)
            rc = look(lower_fd, &entry, visit, arg, err);
    if (rc >= 0 && walk_is_cut(walk))
        rc = err_set(err, 0, ENAMETOOLONG, "the changes of '%.150s' lie too deep", lower);
    walk_free(walk);
    return rc < 0 ? rc : 0;
}

int layer_each_hidden(const struct layer_entry *e, layer_hidden_fn visit, void *arg,
                      struct err *err)
{
    cleanup_fd int upper =
        openat(e->upper_dir, e->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int lower = openat(e->lower_dir, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = lower >= 0 ? fdopendir(lower) : NULL;
    const struct dirent *entry;
    struct stat st;
    int rc = 0;

    if (dir == NULL) {
        rc = err_sys(err, 0, errno, "read '%.150s'", e->path);
        if (lower >= 0)
            close(lower);
        return rc;
    }
    while (rc >= 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || upper < 0 ||
            fstatat(upper, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        rc = visit(arg, e, lower, entry->d_name, err);
    }
    closedir(dir);
    return rc < 0 ? rc : 0;
}
