#include "execd/files/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "execd/files/digest.h"
#include "execd/files/owner.h"
#include "execd/files/temp.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"

#define DEFAULT_MODE 0644

struct upload {
    struct place place;      /* of the real target */
    int fd;                  /* owned; the temporary file */
    char *path;              /* owned; as asked, for messages */
    char temp[NAME_MAX + 1]; /* name of the temporary file there; "" once renamed or removed */
    struct place_owner wish;
    int wish_mode; /* -1 = none */
    bool exists;
    struct stat old; /* of the target, if it exists */
    bool in_parts;   /* then temp is the partial file, which stays */
    uint64_t total;
    bool has_sha256;
    uint8_t sha256[SHA256_LEN];
    struct digest digest;
    uint64_t synced; /* bytes already pushed to the disk: page cache stays bounded */
    uint64_t written;
    /* while the pool commits */
    struct work_pool *pool; /* borrowed */
    void (*on_done)(void *arg, const struct err *err);
    void *arg;
    bool again; /* another step is due */
    int result;
    struct err err;
};

static int fail(struct err *err, int errnum, const char *what, const char *path)
{
    int code = errnum == ENOSPC || errnum == EDQUOT ? ERR_NO_SPACE : ERR_FILE_ACCESS;

    return err_sys(err, code, errnum, "%s '%s'", what, path);
}

static int check_existing(struct upload *u, struct err *err)
{
    u->exists = fstatat(u->place.dir_fd, u->place.name, &u->old, AT_SYMLINK_NOFOLLOW) == 0;
    if (u->exists && S_ISDIR(u->old.st_mode))
        return err_set(err, ERR_FILE_KIND, EISDIR, "'%s' is a directory", u->path);
    if (u->exists && !S_ISREG(u->old.st_mode))
        return err_set(err, ERR_FILE_KIND, EINVAL, "'%s' is not a regular file", u->path);
    int rc = u->exists ? place_check_writable(&u->place) : 0;
    return rc < 0 ? fail(err, -rc, "write", u->path) : 0;
}

static int open_temp(struct upload *u, struct err *err)
{
    int rc = temp_make(u->place.dir_fd, u->temp, &u->fd); /* a shorter name than ours may be */
    return rc < 0 ? fail(err, -rc, "write beside", u->path) : 0;
}

/* ".NAME.execd-part": the same for everybody who resumes. */
static int part_name(const char *name, char out[NAME_MAX + 1], struct err *err)
{
    int n = snprintf(out, NAME_MAX + 1, ".%s.execd-part", name);

    return n > NAME_MAX ? err_set(err, ERR_INVALID_PATH, ENAMETOOLONG,
                                  "'%.64s...' is too long for an upload in parts", name)
                        : 0;
}

/* Somebody else may have put a file of that name there: only our own is written. The lock ends with the descriptor. */
static int check_part(struct upload *u, uint64_t offset, struct err *err)
{
    struct stat st;

    if (fstat(u->fd, &st) < 0)
        return fail(err, errno, "look at the parts of", u->path);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
        return err_set(err, ERR_FILE_KIND, EEXIST, "'%.160s' is not a partial upload of ours",
                       u->temp);
    if (flock(u->fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_UPLOAD_CONFLICT, EBUSY, "another upload of '%.160s' is under way",
                       u->path);
    if (offset > 0 && offset != (uint64_t)st.st_size)
        return err_set(err, ERR_UPLOAD_CONFLICT, ESPIPE, "offset %llu: %lld bytes are there",
                       (unsigned long long)offset, (long long)st.st_size);
    if (ftruncate(u->fd, (off_t)offset) < 0 || lseek(u->fd, (off_t)offset, SEEK_SET) < 0)
        return fail(err, errno, "write the parts of", u->path);
    u->written = u->synced = offset;
    return 0;
}

static int open_part(struct upload *u, const struct upload_target *t, struct err *err)
{
    char name[NAME_MAX + 1];

    int rc = part_name(u->place.name, name, err);
    if (rc < 0)
        return rc;
    u->fd =
        openat(u->place.dir_fd, name,
               O_RDWR | (t->offset == 0 ? O_CREAT : 0) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (u->fd < 0 && errno == ENOENT)
        return err_set(err, ERR_UPLOAD_CONFLICT, ENOENT, "offset %llu: no upload is under way",
                       (unsigned long long)t->offset);
    if (u->fd < 0)
        return fail(err, errno, "write beside", u->path);
    u->in_parts = true;
    u->total = t->total;
    memcpy(u->temp, name, sizeof(u->temp));
    return check_part(u, t->offset, err);
}

/* On the descriptor, before anybody can see the name. Owner first: chown clears set-id bits. */
static int set_attributes(struct upload *u, struct err *err)
{
    mode_t mode = u->exists ? u->old.st_mode & 07777 : DEFAULT_MODE;

    if (u->exists) {
        int rc = temp_become(u->fd, &u->old);
        if (rc < 0)
            return fail(err, -rc, "keep mode and owner of", u->path);
    }
    if (u->exists && !owner_is_wished(&u->wish) && u->wish_mode < 0)
        return 0;
    if (owner_is_wished(&u->wish) && fchown(u->fd, u->wish.uid, u->wish.gid) < 0)
        return fail(err, errno, "change the owner of", u->path);
    if (fchmod(u->fd, u->wish_mode >= 0 ? (mode_t)u->wish_mode : mode) < 0)
        return fail(err, errno, "change the mode of", u->path);
    return 0;
}

int upload_begin(const struct upload_target *target, struct upload **ret_upload, struct err *err)
{
    struct upload *u = xnew(struct upload);

    u->place = PLACE_UNSET;
    u->fd = -1;
    u->path = xstrdup(target->path);
    u->wish_mode = target->mode;
    u->has_sha256 = target->sha256 != NULL;
    if (u->has_sha256)
        memcpy(u->sha256, target->sha256, SHA256_LEN);
    int rc = owner_find(target->owner, target->group, ERR_INVALID_FILE_METADATA, &u->wish, err);
    if (rc == 0)
        rc = place_find(target->path, PLACE_FOLLOW | PLACE_MKDIRS, &u->wish, &u->place, err);
    if (rc == 0)
        rc = check_existing(u, err);
    if (rc == 0)
        rc = target->in_parts ? open_part(u, target, err) : open_temp(u, err);
    if (rc == 0 && !u->in_parts) /* a partial file is ours alone until it is whole */
        rc = set_attributes(u, err);
    if (rc < 0) {
        upload_abort(u);
        return rc;
    }
    *ret_upload = u;
    return 0;
}

int upload_part_size(const char *path, uint64_t *ret_size, struct err *err)
{
    cleanup_place struct place place = PLACE_UNSET;
    char name[NAME_MAX + 1];
    struct stat st;

    int rc = place_find(path, PLACE_FOLLOW, NULL, &place, err);
    if (rc == 0)
        rc = part_name(place.name, name, err);
    if (rc < 0)
        return rc;
    if (fstatat(place.dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_FILE_NOT_FOUND, ENOENT,
                       "file not found. No upload of '%.160s' is under way", path);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

/* Starts write-back of what has gathered, so that a large upload in a small cgroup does not pile up dirty pages. */
#define SYNC_STEP (UINT64_C(8) << 20)

int upload_write(struct upload *u, const void *p, size_t n, struct err *err)
{
    if (u->in_parts && n > u->total - u->written)
        return err_set(err, ERR_INVALID_FILE_CONTENT, EFBIG,
                       "more than the %llu bytes of the whole", (unsigned long long)u->total);
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

/* 1: another step is due; 0: the file has its hash, or none was asked for. */
static int check_hash(struct upload *u)
{
    uint8_t found[SHA256_LEN];

    if (!u->has_sha256)
        return 0;
    int rc = digest_step(&u->digest, u->fd);
    if (rc != 0)
        return rc < 0 ? fail(&u->err, -rc, "read back", u->path) : 1;
    digest_end(&u->digest, found);
    if (codec_equal(found, u->sha256, SHA256_LEN))
        return 0;
    u->in_parts = false; /* worthless: it goes */
    return err_set(&u->err, ERR_INVALID_FILE_CONTENT, EBADMSG,
                   "'%.160s' does not have the SHA-256 of its metadata", u->path);
}

static int put_in_place(struct upload *u)
{
    int rc = u->in_parts ? set_attributes(u, &u->err) : 0;

    if (rc < 0)
        return rc;
    if (fsync(u->fd) < 0)
        return fail(&u->err, errno, "flush", u->path);
    if (renameat(u->place.dir_fd, u->temp, u->place.dir_fd, u->place.name) < 0)
        return fail(&u->err, errno, "put in place", u->path);
    u->temp[0] = '\0';
    sync_folder(u);
    return 0;
}

static void commit_in_pool(void *arg)
{
    struct upload *u = arg;
    bool whole = !u->in_parts || u->total == UPLOAD_NO_TOTAL || u->written == u->total;

    if (!whole) {
        u->result = fsync(u->fd) < 0 ? fail(&u->err, errno, "flush", u->path) : 0;
        return;
    }
    u->result = check_hash(u);
    u->again = u->result > 0;
    if (u->result == 0)
        u->result = put_in_place(u);
}

static void commit_done(void *arg);

static int post_commit(struct upload *u)
{
    if (work_post(u->pool, commit_in_pool, commit_done, u) == 0)
        return 0;
    return err_set(&u->err, ERR_OVERLOADED, EAGAIN, "too many file operations at once");
}

static void commit_done(void *arg)
{
    struct upload *u = arg;

    if (u->again) {
        int rc = post_commit(u); /* from here on the pool writes the result */
        if (rc == 0)
            return;
        u->result = rc;
    }
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
    u->pool = pool;
    digest_init(&u->digest);
    if (post_commit(u) < 0) {
        struct err err = u->err;
        upload_abort(u);
        on_done(arg, &err);
    }
}

void upload_abort(struct upload *u)
{
    if (u == NULL)
        return;
    if (u->temp[0] != '\0' && !u->in_parts)
        (void)unlinkat(u->place.dir_fd, u->temp, 0); /* best effort: nothing else can be done */
    if (u->fd >= 0)
        close(u->fd);
    place_done(&u->place);
    free(u->path);
    free(u);
}
