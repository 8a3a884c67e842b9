#include "execd/files/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "execd/files/job.h"
#include "execd/files/temp.h"
#include "proto/api/errors.h"
#include "proto/base/cleanup.h"
#include "proto/base/mem.h"

#define DENTS_SIZE (32 * 1024)
#define CHUNK (4 * 1024 * 1024)
#define DEPTH_MAX 100000

/* A folder on the way, in the tree and in the copy. */
struct level {
    struct stat from;
    dev_t to_dev;
    ino_t to_ino;
    off64_t next; /* where reading goes on */
};

struct copier {
    int from, to;         /* owned; the folders being copied; -1 at the top */
    struct level *levels; /* owned; [0] is the top */
    size_t n, cap;
    char *dents; /* owned, DENTS_SIZE */
    ssize_t dents_len, dents_at;
    int file_from, file_to; /* owned; the file being copied; -1 = none */
    struct stat file;
    char name[NAME_MAX + 1];
};

static int fail(struct err *err, int errnum, const char *what, const char *name)
{
    if (errnum == EBUSY)
        return err_set(err, ERR_FILE_PROTECTED, errnum, "'%s' is a mount point", name);
    return place_fail(err, errnum, what, name);
}

void copier_free(struct copier *c)
{
    if (c == NULL)
        return;
    guard_fd(&c->from);
    guard_fd(&c->to);
    guard_fd(&c->file_from);
    guard_fd(&c->file_to);
    free(c->levels);
    free(c->dents);
    free(c);
}

static void keep_times(int fd, const struct stat *st)
{
    struct timespec times[2] = {st->st_atim, st->st_mtim};

    (void)futimens(fd, times); /* a nicety */
}

/* ---- one entry ---- */

static int begin_file(struct copier *c, int from, int to, const char *name, const char *to_name)
{
    cleanup_fd int in =
        openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;

    if (in < 0 || fstat(in, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode)) /* exchanged meanwhile */
        return -ESTALE;
    int out = openat(to, to_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0)
        return -errno;
    c->file_from = take_fd(&in);
    c->file_to = out;
    c->file = st;
    return 0;
}

static int end_file(struct copier *c)
{
    int rc = ftruncate(c->file_to, c->file.st_size) < 0 ? -errno : 0; /* a hole at the end */

    if (rc == 0)
        rc = temp_become(c->file_to, &c->file);
    keep_times(c->file_to, &c->file);
    close(c->file_from);
    close(c->file_to);
    c->file_from = c->file_to = -1;
    return rc;
}

/* One piece of data; holes are jumped over. 1 = more, 0 = done. */
static int copy_piece(struct copier *c)
{
    off64_t at = lseek(c->file_from, 0, SEEK_CUR);
    off64_t data = lseek(c->file_from, at, SEEK_DATA);

    if (data < 0 && errno == ENXIO)
        return end_file(c);
    if (data < 0)
        data = lseek(c->file_from, at, SEEK_SET); /* no holes on this file system */
    if (data < 0 || lseek(c->file_to, data, SEEK_SET) < 0)
        return -errno;
    ssize_t n = sendfile(c->file_to, c->file_from, NULL, CHUNK);
    if (n < 0)
        return -errno;
    if (n > 0 && data + n < c->file.st_size)
        return 1;
    /* It may have grown: the copy has what was there in the end. */
    c->file.st_size = MAX(c->file.st_size, data + n);
    return n == 0 ? end_file(c) : 1;
}

static int copy_link(int from, int to, const char *name, const char *to_name)
{
    char text[PATH_MAX];
    ssize_t n = readlinkat(from, name, text, sizeof(text));

    if (n < 0 || n == (ssize_t)sizeof(text))
        return n < 0 ? -errno : -ENAMETOOLONG;
    text[n] = '\0';
    return symlinkat(text, to, to_name) < 0 ? -errno : 0;
}

static int own_by_name(int to, const char *name, const struct stat *st)
{
    struct timespec times[2] = {st->st_atim, st->st_mtim};

    if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != EPERM &&
        errno != EINVAL)
        return -errno;
    (void)utimensat(to, name, times, AT_SYMLINK_NOFOLLOW); /* a nicety */
    return 0;
}

/* FIFOs, sockets, devices. */
static int copy_node(int to, const char *name, const struct stat *st)
{
    return mknodat(to, name, (st->st_mode & S_IFMT) | (st->st_mode & 0777), st->st_rdev) < 0
               ? -errno
               : 0;
}

static int reserve(struct copier *c)
{
    if (c->n < c->cap)
        return 0;
    size_t cap = MAX(c->cap * 2, (size_t)16);
    struct level *grown = cap <= 2 * DEPTH_MAX ? realloc(c->levels, cap * sizeof(*grown)) : NULL;
    if (grown == NULL)
        return -ENOMEM;
    c->levels = grown;
    c->cap = cap;
    return 0;
}

static int enter(struct copier *c, int from, int to, const char *name, const char *to_name)
{
    struct stat st, made;
    struct statx sx;

    cleanup_fd int in =
        openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) < 0 || statx(in, "", AT_EMPTY_PATH, 0, &sx) < 0)
        return -errno;
    if (st.st_dev != c->levels[c->n - 1].from.st_dev ||
        (sx.stx_attributes & sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0)
        return -EBUSY;
    int rc = reserve(c);
    if (rc < 0)
        return rc;
    if (mkdirat(to, to_name, 0700) < 0)
        return -errno;
    cleanup_fd int out = openat(to, to_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (out < 0 || fstat(out, &made) < 0)
        return -errno;
    c->levels[c->n++] = (struct level){.from = st, .to_dev = made.st_dev, .to_ino = made.st_ino};
    guard_fd(&c->from);
    guard_fd(&c->to);
    c->from = take_fd(&in);
    c->to = take_fd(&out);
    c->dents_len = c->dents_at = 0;
    return 0;
}

static int copy_entry(struct copier *c, int from, int to, const char *name, const char *to_name)
{
    struct stat st;

    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return enter(c, from, to, name, to_name);
    if (S_ISREG(st.st_mode))
        return begin_file(c, from, to, name, to_name);
    int rc = S_ISLNK(st.st_mode) ? copy_link(from, to, name, to_name) : copy_node(to, to_name, &st);
    return rc < 0 ? rc : own_by_name(to, to_name, &st);
}

/* ---- the way ---- */

static int up(int fd, dev_t dev, ino_t ino)
{
    struct stat st;
    cleanup_fd int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (parent < 0 || fstat(parent, &st) < 0)
        return -errno;
    return st.st_dev == dev && st.st_ino == ino ? take_fd(&parent) : -ESTALE;
}

/* Everything in the folder is copied: now it gets its mode, and the work goes on above. */
static int leave(struct copier *c)
{
    const struct level *level = &c->levels[c->n - 1], *above = level - 1;
    int rc = temp_become(c->to, &level->from);

    keep_times(c->to, &level->from);
    c->n--;
    if (rc < 0 || c->n == 1)
        return rc;
    int from = up(c->from, above->from.st_dev, above->from.st_ino);
    if (from < 0)
        return from;
    close(c->from);
    c->from = from;
    int to = up(c->to, above->to_dev, above->to_ino);
    if (to < 0)
        return to;
    close(c->to);
    c->to = to;
    c->dents_len = c->dents_at = 0;
    return lseek(c->from, above->next, SEEK_SET) < 0 ? -errno : 0;
}

static int next_entry(struct copier *c)
{
    if (c->dents_at == c->dents_len) {
        c->dents_len = getdents64(c->from, c->dents, DENTS_SIZE);
        c->dents_at = 0;
        if (c->dents_len <= 0)
            return c->dents_len < 0 ? -errno : leave(c);
    }
    const struct dirent64 *entry = (const void *)(c->dents + c->dents_at);
    c->dents_at += entry->d_reclen;
    c->levels[c->n - 1].next = entry->d_off;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
        return 0;
    memcpy(c->name, entry->d_name, strlen(entry->d_name) + 1);
    return copy_entry(c, c->from, c->to, c->name, c->name);
}

int copier_step(struct copier *c, struct err *err)
{
    int rc = c->file_from >= 0 ? copy_piece(c) : c->n > 1 ? next_entry(c) : 0;

    if (rc < 0)
        return fail(err, -rc, "copy", c->name);
    return rc > 0 || c->file_from >= 0 || c->n > 1 ? FILE_MORE : FILE_DONE;
}

int copier_new(const struct place *from, int to_fd, const char *to_name, struct copier **ret_copier,
               struct err *err)
{
    struct copier *c = xnew(struct copier);

    c->from = c->to = c->file_from = c->file_to = -1;
    memcpy(c->name, from->name, sizeof(c->name));
    c->dents = malloc(DENTS_SIZE);
    int rc = c->dents != NULL ? reserve(c) : -ENOMEM;
    if (rc == 0 && fstat(from->dir_fd, &c->levels[0].from) < 0)
        rc = -errno;
    c->n = 1;
    if (rc == 0)
        rc = copy_entry(c, from->dir_fd, to_fd, from->name, to_name);
    if (rc < 0) {
        copier_free(c);
        return fail(err, -rc, "copy", from->name);
    }
    *ret_copier = c;
    return 0;
}
