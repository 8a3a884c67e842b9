#include "execd/files/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/proc/users.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/ids.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"
#include "proto/base/work.h"

#define DEFAULT_MODE 0644

struct upload {
    int dir_fd; /* owned; the folder that holds the target */
    int fd;     /* owned; the temporary file */
    char *path; /* owned; as asked, for messages */
    char *name; /* owned; last component of the real target */
    char temp[ID_HEX_LEN +
              16];   /* name of the temporary file in dir_fd; "" once renamed or removed */
    uint64_t synced; /* bytes already pushed to the disk: page cache stays bounded */
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

/* The owner or group by name, or by number when the text is one. (uid_t)-1 = leave. */
static int resolve_owner(const struct upload_target *t, uid_t *uid, gid_t *gid, struct err *err)
{
    struct user user;

    *uid = (uid_t)-1;
    *gid = (gid_t)-1;
    if (t->owner != NULL && t->owner[0] != '\0') {
        if (users_by_name(t->owner, &user) < 0)
            return err_set(err, ERR_INVALID_FILE_METADATA, EINVAL, "unknown owner '%.64s'",
                           t->owner);
        *uid = user.uid;
    }
    if (t->group != NULL && t->group[0] != '\0' && users_group_by_name(t->group, gid) < 0)
        return err_set(err, ERR_INVALID_FILE_METADATA, EINVAL, "unknown group '%.64s'", t->group);
    return 0;
}

/* Follows a symbolic link at the target to the file that it names, so that the link survives the rename. */
static int real_target(const char *path, char real[PATH_MAX], struct err *err)
{
    struct stat st;

    if (lstat(path, &st) < 0 || !S_ISLNK(st.st_mode)) {
        snprintf(real, PATH_MAX, "%s", path);
        return 0;
    }
    if (realpath(path, real) == NULL)
        return fail(err, errno, "follow the link", path);
    return 0;
}

static int check_existing(const char *path, struct stat *st, bool *exists, struct err *err)
{
    *exists = stat(path, st) == 0;
    if (*exists && S_ISDIR(st->st_mode))
        return err_set(err, ERR_FILE_KIND, EISDIR, "'%s' is a directory", path);
    if (*exists && !S_ISREG(st->st_mode))
        return err_set(err, ERR_FILE_KIND, EINVAL, "'%s' is not a regular file", path);
    return 0;
}

static int open_folder(struct upload *u, char *real, struct err *err)
{
    char *slash = strrchr(real, '/');

    if (slash == NULL || slash[1] == '\0')
        return err_set(err, ERR_INVALID_PATH, EINVAL, "'%s' does not name a file", u->path);
    u->name = xstrdup(slash + 1);
    *slash = '\0';
    const char *folder = real[0] != '\0' ? real : "/";
    int rc = path_mkdirs_in_root(AT_FDCWD, folder, 0755);
    if (rc < 0)
        return fail(err, -rc, "make the folder", folder);
    u->dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return u->dir_fd < 0 ? fail(err, errno, "open the folder", folder) : 0;
}

static int open_temp(struct upload *u, struct err *err)
{
    char id[ID_HEX_LEN + 1];

    ids_hex(id);
    snprintf(u->temp, sizeof(u->temp), ".execd-%s.tmp", id);
    u->fd = openat(u->dir_fd, u->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (u->fd < 0) {
        int errnum = errno;
        u->temp[0] = '\0';
        return fail(err, errnum, "write beside", u->path);
    }
    return 0;
}

/* On the descriptor, before anybody can see the name. Owner first: chown clears set-id bits. */
static int set_attributes(struct upload *u, const struct upload_target *t, const struct stat *old,
                          bool exists, struct err *err)
{
    uid_t uid;
    gid_t gid;
    mode_t mode = t->mode >= 0 ? (mode_t)t->mode : exists ? old->st_mode & 07777 : DEFAULT_MODE;

    int rc = resolve_owner(t, &uid, &gid, err);
    if (rc < 0)
        return rc;
    if (uid == (uid_t)-1 && exists)
        uid = old->st_uid;
    if (gid == (gid_t)-1 && exists)
        gid = old->st_gid;
    if ((uid != (uid_t)-1 || gid != (gid_t)-1) && fchown(u->fd, uid, gid) < 0)
        return fail(err, errno, "change the owner of", u->path);
    if (fchmod(u->fd, mode) < 0)
        return fail(err, errno, "change the mode of", u->path);
    return 0;
}

int upload_begin(const struct upload_target *target, struct upload **ret_upload, struct err *err)
{
    struct upload *u = xnew(struct upload);
    char real[PATH_MAX];
    struct stat old;
    bool exists = false;

    u->dir_fd = u->fd = -1;
    u->path = xstrdup(target->path);
    int rc = real_target(target->path, real, err);
    if (rc == 0)
        rc = check_existing(real, &old, &exists, err);
    if (rc == 0)
        rc = open_folder(u, real, err);
    if (rc == 0)
        rc = open_temp(u, err);
    if (rc == 0)
        rc = set_attributes(u, target, &old, exists, err);
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

static void commit_in_pool(void *arg)
{
    struct upload *u = arg;

    if (fsync(u->fd) < 0)
        u->result = fail(&u->err, errno, "flush", u->path);
    else if (renameat(u->dir_fd, u->temp, u->dir_fd, u->name) < 0)
        u->result = fail(&u->err, errno, "put in place", u->path);
    else
        u->temp[0] = '\0';
    if (u->result == 0)
        (void)fsync(u->dir_fd); /* some file systems cannot; the data itself is safe */
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
        (void)unlinkat(u->dir_fd, u->temp, 0); /* best effort: nothing else can be done */
    if (u->fd >= 0)
        close(u->fd);
    if (u->dir_fd >= 0)
        close(u->dir_fd);
    free(u->path);
    free(u->name);
    free(u);
}
