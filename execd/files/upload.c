#include "execd/files/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/files/owner.h"
#include "execd/files/temp.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"

#define DEFAULT_MODE 0644

struct upload {
    struct place place;       /* of the real target */
    int fd;                   /* owned; the temporary file */
    char *path;               /* owned; as asked, for messages */
    char temp[TEMP_NAME_MAX]; /* name of the temporary file there; "" once renamed or removed */
    uint64_t synced;          /* bytes already pushed to the disk: page cache stays bounded */
    uint64_t written;
    /* while the pool commits */
    void (*on_done)(void *arg, const struct err *err);
    void *arg;
    int result;
    struct err err;
};

static int fail(struct err *err, int errnum, const char *what, const char *path)
{
    int code = errnum == ENOSPC || errnum == EDQUOT ? ERR_NO_SPACE : ERR_FILE_ACCESS;

    return err_sys(err, code, errnum, "%s '%s'", what, path);
}

static int check_existing(const struct upload *u, struct stat *st, bool *exists, struct err *err)
{
    *exists = fstatat(u->place.dir_fd, u->place.name, st, AT_SYMLINK_NOFOLLOW) == 0;
    if (*exists && S_ISDIR(st->st_mode))
        return err_set(err, ERR_FILE_KIND, EISDIR, "'%s' is a directory", u->path);
    if (*exists && !S_ISREG(st->st_mode))
        return err_set(err, ERR_FILE_KIND, EINVAL, "'%s' is not a regular file", u->path);
    return 0;
}

static int open_temp(struct upload *u, struct err *err)
{
    int rc = temp_make(u->place.dir_fd, u->temp, &u->fd);
    return rc < 0 ? fail(err, -rc, "write beside", u->path) : 0;
}

/* On the descriptor, before anybody can see the name. Owner first: chown clears set-id bits. */
static int set_attributes(struct upload *u, const struct upload_target *t,
                          const struct place_owner *wish, const struct stat *old, bool exists,
                          struct err *err)
{
    mode_t mode = exists ? old->st_mode & 07777 : DEFAULT_MODE;

    if (exists) {
        int rc = temp_become(u->fd, old);
        if (rc < 0)
            return fail(err, -rc, "keep mode and owner of", u->path);
    }
    if (exists && !owner_is_wished(wish) && t->mode < 0)
        return 0;
    if (owner_is_wished(wish) && fchown(u->fd, wish->uid, wish->gid) < 0)
        return fail(err, errno, "change the owner of", u->path);
    if (fchmod(u->fd, t->mode >= 0 ? (mode_t)t->mode : mode) < 0)
        return fail(err, errno, "change the mode of", u->path);
    return 0;
}

int upload_begin(const struct upload_target *target, struct upload **ret_upload, struct err *err)
{
    struct upload *u = xnew(struct upload);
    struct place_owner wish;
    struct stat old;
    bool exists = false;

    u->place = PLACE_UNSET;
    u->fd = -1;
    u->path = xstrdup(target->path);
    int rc = owner_find(target->owner, target->group, ERR_INVALID_FILE_METADATA, &wish, err);
    if (rc == 0)
        rc = place_find(target->path, PLACE_FOLLOW | PLACE_MKDIRS, &wish, &u->place, err);
    if (rc == 0)
        rc = check_existing(u, &old, &exists, err);
    if (rc == 0)
        rc = open_temp(u, err);
    if (rc == 0)
        rc = set_attributes(u, target, &wish, &old, exists, err);
    if (rc < 0) {
        upload_abort(u);
        return rc;
    }
    *ret_upload = u;
    return 0;
}

/* Starts write-back of what has gathered, so that a large upload in a small cgroup does not pile up dirty pages. */
#define SYNC_STEP (UINT64_C(8) << 20)

int upload_write(struct upload *u, const void *p, size_t n, struct err *err)
{
    int rc = fd_write_all(u->fd, p, n);

    if (rc < 0)
        return fail(err, -rc, "write", u->path);
    u->written += n;
    if (u->written - u->synced >= SYNC_STEP) {
        /* Advice only: a file system without it writes back later. */
        (void)sync_file_range(u->fd, (off64_t)u->synced, (off64_t)(u->written - u->synced),
                              SYNC_FILE_RANGE_WRITE);
        u->synced = u->written;
    }
    return 0;
}

/* Some folders may not be read, some file systems cannot: the data itself is safe. */
static void sync_folder(const struct upload *u)
{
    cleanup_fd int fd = openat(u->place.dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0)
        (void)fsync(fd);
}

static void commit_in_pool(void *arg)
{
    struct upload *u = arg;

    if (fsync(u->fd) < 0)
        u->result = fail(&u->err, errno, "flush", u->path);
    else if (renameat(u->place.dir_fd, u->temp, u->place.dir_fd, u->place.name) < 0)
        u->result = fail(&u->err, errno, "put in place", u->path);
    else
        u->temp[0] = '\0';
    if (u->result == 0)
        sync_folder(u);
}

static void commit_done(void *arg)
{
    struct upload *u = arg;
    void (*on_done)(void *, const struct err *) = u->on_done;
    void *on_done_arg = u->arg;
    struct err err = u->err;
    int result = u->result;

    upload_abort(u);
    on_done(on_done_arg, result < 0 ? &err : NULL);
}

void upload_commit(struct upload *u, struct work_pool *pool,
                   void (*on_done)(void *arg, const struct err *err), void *arg)
{
    u->on_done = on_done;
    u->arg = arg;
    if (work_post(pool, commit_in_pool, commit_done, u) < 0) {
        struct err err;
        (void)err_set(&err, ERR_OVERLOADED, EAGAIN, "too many file operations at once");
        upload_abort(u);
        on_done(arg, &err);
    }
}

void upload_abort(struct upload *u)
{
    if (u == NULL)
        return;
    if (u->temp[0] != '\0')
        (void)unlinkat(u->place.dir_fd, u->temp, 0); /* best effort: nothing else can be done */
    if (u->fd >= 0)
        close(u->fd);
    place_done(&u->place);
    free(u->path);
    free(u);
}
