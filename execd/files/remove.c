#include "execd/files/remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/files/job.h"
#include "proto/api/errors.h"
#include "proto/base/cleanup.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

#define DENTS_SIZE (32 * 1024)
#define NAMES_MAX (16U << 20) /* bytes of names on the way down: 65,000 levels of the longest */
#define RETRIES_MAX 1000      /* somebody keeps filling what is emptied */

/* A folder on the way: who it is, and where its own name stands in `names`. */
struct level {
    dev_t dev;
    ino_t ino;
    size_t name_at;
};

struct remover {
    int top_fd;           /* borrowed: where the tree hangs */
    int fd;               /* owned; the folder being emptied; -1 before the first */
    struct level *levels; /* owned; levels[0] is the top, levels[n-1] the folder of fd */
    size_t n, cap;
    struct strbuf names; /* NUL-terminated, one behind the other */
    char *dents;         /* owned, DENTS_SIZE */
    bool removed; /* something went in this pass over the folder: its order may have changed */
    unsigned retries;
};

static const char *name_of(const struct remover *r, size_t level)
{
    return r->names.data + r->levels[level].name_at;
}

static int fail(struct err *err, int errnum, const char *what, const char *name)
{
    if (errnum == EBUSY)
        return err_set(err, ERR_FILE_PROTECTED, errnum, "'%s' is a mount point", name);
    return err_sys(err, ERR_FILE_ACCESS, errnum, "%s '%s'", what, name);
}

static int check_no_mount(int fd, dev_t parent_dev, struct stat *st)
{
    struct statx sx;

    if (fstat(fd, st) < 0)
        return -errno;
    if (st->st_dev != parent_dev)
        return -EBUSY;
    if (statx(fd, "", AT_EMPTY_PATH, 0, &sx) == 0 &&
        (sx.stx_attributes & sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0)
        return -EBUSY;
    return 0;
}

static int push(struct remover *r, const char *name, const struct stat *st)
{
    if (r->n == r->cap) {
        size_t cap = MAX(r->cap * 2, (size_t)32);
        struct level *grown = realloc(r->levels, cap * sizeof(*grown));
        if (grown == NULL)
            return -ENOMEM;
        r->levels = grown;
        r->cap = cap;
    }
    r->levels[r->n] = (struct level){st->st_dev, st->st_ino, r->names.len};
    strbuf_add(&r->names, name, strlen(name) + 1);
    if (strbuf_check(&r->names) < 0)
        return -ENAMETOOLONG;
    r->n++;
    return 0;
}

static int enter(struct remover *r, int from_fd, const char *name, struct err *err)
{
    dev_t dev = r->levels[r->n - 1].dev;
    struct stat st;

    /* O_NONBLOCK: a FIFO may have taken the name meanwhile; O_DIRECTORY then refuses it at once. */
    cleanup_fd int fd =
        openat(from_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int rc = fd < 0 ? -errno : check_no_mount(fd, dev, &st);
    if (rc == 0)
        rc = push(r, name, &st);
    if (rc < 0)
        return fail(err, -rc, "enter", name);
    guard_fd(&r->fd);
    r->fd = take_fd(&fd);
    r->removed = false;
    return FILE_MORE;
}

int remover_new(int dir_fd, const char *name, struct remover **ret_remover, struct err *err)
{
    struct remover *r = xnew(struct remover);
    struct stat st;

    r->top_fd = dir_fd;
    r->fd = -1;
    strbuf_init(&r->names, NAMES_MAX);
    r->dents = malloc(DENTS_SIZE);
    int rc = r->dents == NULL ? -ENOMEM : fstat(dir_fd, &st) < 0 ? -errno : push(r, "", &st);
    if (rc < 0)
        (void)fail(err, -rc, "remove", name);
    if (rc == 0)
        rc = enter(r, dir_fd, name, err);
    if (rc < 0) {
        remover_free(r);
        return rc;
    }
    *ret_remover = r;
    return 0;
}

void remover_free(struct remover *r)
{
    if (r == NULL)
        return;
    guard_fd(&r->fd);
    strbuf_done(&r->names);
    free(r->levels);
    free(r->dents);
    free(r);
}

/* Up by "..", and only into the folder that we came from. */
static int open_parent(struct remover *r, int *ret_fd)
{
    const struct level *parent = &r->levels[r->n - 2];
    struct stat st;

    cleanup_fd int fd = r->n == 2
                            ? openat(r->top_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                            : openat(r->fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && r->n == 2) /* it may be closed to reading: we only unlink there */
        fd = openat(r->top_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_dev != parent->dev || st.st_ino != parent->ino)
        return -ESTALE;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* The folder is empty: out of it, and away with it. */
static int leave(struct remover *r, struct err *err)
{
    const char *name = name_of(r, r->n - 1);
    int parent = -1;

    int rc = open_parent(r, &parent);
    if (rc < 0)
        return fail(err, -rc, "leave", name);
    close(r->fd);
    r->fd = parent;
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
        int errnum = errno;
        if ((errnum != ENOTEMPTY && errnum != EEXIST) || ++r->retries > RETRIES_MAX)
            return fail(err, errnum, "remove", name);
        if (r->n == 2) { /* nobody above would find it again */
            cleanup_free char *again = xstrdup(name);
            r->names.len = r->levels[--r->n].name_at;
            return enter(r, parent, again, err);
        }
    }
    r->names.len = r->levels[--r->n].name_at;
    r->removed = true;
    return r->n == 1 ? FILE_DONE : FILE_MORE;
}

/* 0: gone. 1: a folder that is not empty. */
static int remove_entry(const struct remover *r, const char *name, unsigned char type)
{
    struct stat st;

    if (type == DT_UNKNOWN && fstatat(r->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        type = (unsigned char)IFTODT(st.st_mode);
    if (unlinkat(r->fd, name, type == DT_DIR ? AT_REMOVEDIR : 0) == 0 || errno == ENOENT)
        return 0;
    return errno == ENOTEMPTY || errno == EEXIST || errno == EISDIR ? 1 : -errno;
}

int remover_step(struct remover *r, struct err *err)
{
    ssize_t n = getdents64(r->fd, r->dents, DENTS_SIZE);

    if (n < 0)
        return fail(err, errno, "read", name_of(r, r->n - 1));
    if (n == 0 && !r->removed)
        return leave(r, err);
    if (n == 0) { /* once more from the beginning: some file systems skip names while others go */
        r->removed = false;
        return lseek(r->fd, 0, SEEK_SET) < 0 ? fail(err, errno, "read", name_of(r, r->n - 1))
                                             : FILE_MORE;
    }
    for (ssize_t at = 0; at < n;) {
        const struct dirent64 *entry = (const void *)(r->dents + at);
        const char *name = entry->d_name;
        at += entry->d_reclen;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        int rc = remove_entry(r, name, entry->d_type);
        if (rc < 0)
            return fail(err, -rc, "remove", name);
        if (rc > 0)
            return enter(r, r->fd, name, err);
        r->removed = true;
    }
    return FILE_MORE;
}

/* ---- as an operation ---- */

static int begin(struct remove_item *item, struct err *err)
{
    struct stat st;

    int rc = place_find(item->path, 0, NULL, &item->place, err);
    if (rc == -ENOENT || rc == -ENOTDIR)
        return FILE_DONE;
    if (rc < 0)
        return rc;
    item->begun = true;
    if (fstatat(item->place.dir_fd, item->place.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? FILE_DONE : place_fail(err, errno, "look at", item->path);
    if (S_ISDIR(st.st_mode) && !item->tree)
        return err_set(err, ERR_RUNTIME_ERROR, EISDIR, "path is a directory: %s", item->path);
    if (strcmp(item->place.name, ".") == 0)
        return err_set(err, ERR_FILE_PROTECTED, EBUSY, "'/' is not removed");
    if (S_ISDIR(st.st_mode))
        return remover_new(item->place.dir_fd, item->place.name, &item->remover, err) < 0
                   ? -err->errnum
                   : FILE_MORE;
    if (unlinkat(item->place.dir_fd, item->place.name, 0) < 0 && errno != ENOENT)
        return fail(err, errno, "remove", item->path);
    return FILE_DONE;
}

static int step(void *arg, struct err *err)
{
    struct remove_item *item = arg;
    int rc;

    if (!item->begun) {
        rc = begin(item, err);
    } else {
        rc = remover_step(item->remover, err);
        if (rc < 0)
            (void)err_wrap(err, "below '%.100s'", item->path);
    }
    if (rc == FILE_DONE && item->begun)
        place_done(&item->place);
    return rc;
}

static void done(void *arg)
{
    struct remove_item *item = arg;

    remover_free(item->remover);
    if (item->begun)
        place_done(&item->place);
}

const struct file_op remove_op = {.size = sizeof(struct remove_item), .step = step, .done = done};
