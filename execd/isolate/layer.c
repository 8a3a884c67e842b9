#include "execd/isolate/layer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "execd/files/walk.h"
#include "proto/base/fd.h"
#include "proto/base/mountinfo.h"
#include "proto/base/path.h"
#include "proto/base/str.h"

#define MOUNTS_TEXT_MAX (16U << 20)

/* The lower directory as the overlay has it: without what is mounted inside. */
struct lower {
    int fd;               /* owned: O_PATH */
    struct strbuf mounts; /* the places of those mounts below it, each ended by a NUL */
};

/* ---- the lower directory ---- */

static int add_mounts_in(const char *top, const char *text, struct strbuf *mounts)
{
    size_t len = strcmp(top, "/") == 0 ? 0 : strlen(top);
    struct mountinfo_line m;
    char point[PATH_MAX];

    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        if (mountinfo_split(line, end, &m)) {
            int rc = mountinfo_copy(m.field[MOUNTINFO_POINT], m.field_end[MOUNTINFO_POINT], point);
            if (rc < 0)
                return rc;
            if (strncmp(point, top, len) == 0 && point[len] == '/' && point[len + 1] != '\0')
                strbuf_add(mounts, point + len + 1, strlen(point + len + 1) + 1);
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return strbuf_check(mounts);
}

static int find_mounts(int top, struct strbuf *mounts)
{
    cleanup_free char *text = NULL;
    char link[32], path[PATH_MAX];
    size_t len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", top);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    int rc = fd_slurp_alloc(AT_FDCWD, "/proc/self/mountinfo", MOUNTS_TEXT_MAX, &text, &len);
    return rc == 0 ? add_mounts_in(path, text, mounts) : rc;
}

/* Through a copy of the one mount, so that nothing can lead into another; private, lest one is mounted meanwhile. */
static int open_lower(const char *path, struct lower *l)
{
    struct mount_attr private = {.propagation = MS_PRIVATE};
    cleanup_fd int top = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (top < 0)
        return -errno;
    l->fd = open_tree(top, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (l->fd < 0 || mount_setattr(l->fd, "", AT_EMPTY_PATH, &private, sizeof(private)) < 0)
        return -errno;
    return find_mounts(top, &l->mounts);
}

/* Below an entry, or at or above it? */
static void find_neighbours(const struct strbuf *mounts, struct layer_entry *e)
{
    size_t len = strlen(e->path), n;

    for (size_t at = 0; at < mounts->len; at += n + 1) {
        const char *point = mounts->data + at;
        n = strlen(point);
        if (strncmp(point, e->path, len) == 0 && point[len] == '/')
            e->holds_mount = true;
        if (strncmp(e->path, point, n) == 0 && (e->path[n] == '/' || e->path[n] == '\0'))
            e->is_covered = true;
    }
}

/* ---- entries ---- */

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

static int look(const struct lower *lower, const struct walk_entry *w, layer_visit_fn visit,
                void *arg, struct err *err)
{
    struct layer_entry e = {.path = w->path, .name = w->name, .upper_dir = w->dir_fd};

    if (fstatat(w->dir_fd, w->name, &e.upper, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, 0, errno, "'%.150s'", w->path);
    cleanup_fd int parent = open_parent(lower->fd, w->path);
    e.lower_dir = parent >= 0 ? parent : -1;
    e.has_lower = parent >= 0 && fstatat(parent, w->name, &e.lower, AT_SYMLINK_NOFOLLOW) == 0;
    e.opaque = S_ISDIR(e.upper.st_mode) && is_opaque(w->dir_fd, w->name);
    e.kind = classify(&e);
    find_neighbours(&lower->mounts, &e);
    return visit(arg, &e, err);
}

static int each_upper(const struct lower *lower, const char *upper, layer_visit_fn visit, void *arg,
                      struct err *err)
{
    struct walk_entry entry;
    enum walk_result step;
    struct walk *walk;

    int rc = walk_new(upper, &walk);
    if (rc < 0)
        return err_sys(err, 0, -rc, "open '%.150s'", upper);
    while (rc >= 0 && (step = walk_next(walk, &entry)) != WALK_END)
        if (step == WALK_ENTRY)
            rc = look(lower, &entry, visit, arg, err);
    if (rc >= 0 && walk_is_cut(walk))
        rc = err_set(err, 0, ENAMETOOLONG, "the changes in '%.150s' lie too deep", upper);
    walk_free(walk);
    return rc < 0 ? rc : 0;
}

int layer_each(const char *lower, const char *upper, layer_visit_fn visit, void *arg,
               struct err *err)
{
    struct lower l = {.fd = -1};

    strbuf_init(&l.mounts, MOUNTS_TEXT_MAX);
    int rc = open_lower(lower, &l);
    if (rc < 0)
        rc = err_sys(err, 0, -rc, "open '%.150s'", lower);
    else
        rc = each_upper(&l, upper, visit, arg, err);
    strbuf_done(&l.mounts);
    if (l.fd >= 0)
        close(l.fd);
    return rc;
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
