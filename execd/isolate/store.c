#include "execd/isolate/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"
#include "proto/base/str.h"
#include "proto/base/work.h"

#define PREFIX "execd-"
#define NAME_BYTES 64
#define CLOSE_LIMIT_MS 1000

struct store {
    struct work_pool *pool; /* borrowed */
    int root_fd, own_fd;    /* owned; own_fd carries the lock */
    char *path;             /* owned: of own_fd */
    bool mounted;           /* the file system in memory is ours */
    char name[NAME_BYTES];
};

/* ---- removal ---- */

/* Trees of any depth with two descriptors: what is a directory inside a directory moves up to the top first. */
static int empty_into(int top, const char *name, unsigned *serial)
{
    int fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    int rc = 0;

    if (dir == NULL) {
        rc = -errno;
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        char moved[NAME_BYTES];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, entry->d_name, 0) == 0)
            continue;
        if (errno == ENOENT)
            continue;
        if (errno != EISDIR && errno != EPERM) {
            rc = -errno;
            break;
        }
        if (unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
            continue;
        snprintf(moved, sizeof(moved), ".gone-%u", (*serial)++);
        if (renameat2(fd, entry->d_name, top, moved, RENAME_NOREPLACE) < 0 && errno != EEXIST &&
            errno != ENOENT)
            rc = -errno;
    }
    closedir(dir);
    return rc;
}

/* One directory below top; -ENOENT: there is none. */
static int find_dir(int top, char name[256])
{
    cleanup_fd int copy = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;
    int rc = -ENOENT;

    if (dir == NULL)
        return -errno;
    (void)take_fd(&copy); /* the stream owns it */
    while (rc == -ENOENT && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(top, entry->d_name, 0) == 0 || errno == ENOENT ||
            unlinkat(top, entry->d_name, AT_REMOVEDIR) == 0)
            continue;
        snprintf(name, 256, "%s", entry->d_name);
        rc = 0;
    }
    closedir(dir);
    return rc;
}

int store_remove_tree(int dir_fd, const char *name, int64_t limit_ms)
{
    int64_t until = clock_monotonic_ms() + limit_ms;
    cleanup_fd int top = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    char child[256];
    unsigned serial = 0;
    int rc;

    if (top < 0)
        return -errno;
    while ((rc = find_dir(top, child)) == 0) {
        rc = empty_into(top, child, &serial);
        if (rc < 0 && rc != -ENOENT) /* somebody else removes it, too */
            return rc;
        /* One that is empty and stays (immutable, a mount point) would be found again without end. */
        if (unlinkat(top, child, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != ENOENT)
            return -errno;
        if (limit_ms > 0 && clock_monotonic_ms() > until)
            return -ETIMEDOUT;
    }
    if (rc != -ENOENT)
        return rc;
    return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

struct removal {
    int dir_fd; /* owned */
    char name[NAME_BYTES];
};

static void run_removal(void *arg)
{
    struct removal *r = arg;

    (void)!store_remove_tree(r->dir_fd, r->name, 0); /* what stays is found by the next start */
}

static void removal_done(void *arg)
{
    struct removal *r = arg;

    close(r->dir_fd);
    free(r);
}

static void post_removal(struct store *s, int dir_fd, const char *name)
{
    int fd = fd_dup_cloexec(dir_fd);

    if (fd < 0)
        return;
    struct removal *r = xnew(struct removal);
    r->dir_fd = fd;
    snprintf(r->name, sizeof(r->name), "%s", name);
    if (work_post(s->pool, run_removal, removal_done, r) < 0)
        removal_done(r); /* too busy: the next start removes it */
}

/* ---- the directory ---- */

/* Whoever made it is gone: nobody holds its lock. */
static void reclaim(struct store *s)
{
    cleanup_fd int copy = openat(s->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;

    if (dir == NULL)
        return;
    (void)take_fd(&copy); /* the stream owns it */
    while ((entry = readdir(dir)) != NULL) {
        if (!str_starts(entry->d_name, PREFIX) || strlen(entry->d_name) >= NAME_BYTES)
            continue;
        cleanup_fd int fd =
            openat(s->root_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            post_removal(s, s->root_fd, entry->d_name);
    }
    closedir(dir);
}

static int open_root(struct store *s, const char *root, struct err *err)
{
    cleanup_fd int slash = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statfs fs;

    int rc = slash < 0 ? -errno : path_mkdirs_in_root(slash, root + 1, 0700);
    if (rc < 0)
        return err_sys(err, 0, -rc, "make '%.150s'", root);
    if (statfs(root, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC) {
        if (mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700") < 0)
            return err_sys(err, 0, errno, "'%.80s' cannot hold upper layers, nor be given memory%s",
                           root, errno == EPERM ? " (needs CAP_SYS_ADMIN)" : "");
        s->mounted = true;
    }
    s->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->root_fd < 0 || fchmod(s->root_fd, 0700) < 0)
        return err_sys(err, 0, errno, "open '%.150s'", root);
    return 0;
}

static int make_own(struct store *s, const char *root, struct err *err)
{
    char id[ID_HEX_LEN + 1];

    ids_hex(id);
    snprintf(s->name, sizeof(s->name), PREFIX "%s", id);
    s->path = xasprintf("%s/%s", root, s->name);
    if (mkdirat(s->root_fd, s->name, 0700) < 0 ||
        (s->own_fd = openat(s->root_fd, s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) <
            0 ||
        flock(s->own_fd, LOCK_EX | LOCK_NB) < 0)
        return err_sys(err, 0, errno, "make '%.150s'", s->path);
    return 0;
}

int store_open(const char *root, struct work_pool *pool, struct store **ret_store, struct err *err)
{
    struct store *s = xnew(struct store);

    s->pool = pool;
    s->root_fd = s->own_fd = -1;
    int rc = open_root(s, root, err);
    if (rc == 0)
        rc = make_own(s, root, err);
    if (rc < 0) {
        store_close(s);
        return rc;
    }
    reclaim(s);
    *ret_store = s;
    return 0;
}

static void let_go(struct store *s)
{
    if (s->own_fd >= 0)
        close(s->own_fd);
    if (s->root_fd >= 0)
        close(s->root_fd);
    if (s->mounted && s->path != NULL) {
        *strrchr(s->path, '/') = '\0';
        (void)umount2(s->path, MNT_DETACH); /* whoever holds a descriptor goes on using it */
    }
    free(s->path);
    free(s);
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->own_fd >= 0)
        (void)!store_remove_tree(s->root_fd, s->name, CLOSE_LIMIT_MS); /* the next start finds it */
    let_go(s);
}

void store_retire(struct store *s)
{
    post_removal(s, s->root_fd, s->name);
    let_go(s);
}

const char *store_path(const struct store *s)
{
    return s->path;
}

int store_make(struct store *s, const char *name, size_t n, struct err *err)
{
    char path[NAME_BYTES + 24];

    if (mkdirat(s->own_fd, name, 0700) < 0)
        return err_sys(err, 0, errno, "make '%.100s/%.60s'", s->path, name);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%zu", name, i);
        if (mkdirat(s->own_fd, path, 0700) < 0)
            return err_sys(err, 0, errno, "make '%.100s/%.60s'", s->path, path);
    }
    return 0;
}

void store_remove(struct store *s, const char *name)
{
    post_removal(s, s->own_fd, name);
}
