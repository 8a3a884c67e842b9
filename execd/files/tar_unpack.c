#include "execd/files/tar_unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/files/tar.h"
#include "execd/files/temp.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/path.h"

#define FOLDER_MODE 0755
#define LATE_MAX (4U << 20) /* bytes: folders whose mode would keep us out */

struct unpack {
    int root_fd; /* owned */
    struct unpack_options options;
    struct unpack_counts counts;
    struct tar_reader reader;
    char path[PATH_MAX];      /* of the member, clean */
    const char *name;         /* its last component, in path */
    char parent[PATH_MAX];    /* whose descriptor is kept; "" = the root */
    int parent_fd;            /* owned unless the root's */
    int fd;                   /* owned: the file being written */
    char temp[TEMP_NAME_MAX]; /* its name for now; "" = none */
    mode_t mode;              /* of the member, as far as wanted */
    struct timespec mtime;
    uid_t uid;
    gid_t gid;
    struct strbuf late; /* mode as text, path, NUL, ... */
};

static int refuse(const struct unpack *u, struct err *err, const char *why)
{
    return err_set(err, ERR_INVALID_ARCHIVE, EINVAL, "bad archive: '%.160s' %s", u->path, why);
}

static int fail(const struct unpack *u, struct err *err, int errnum, const char *what)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return err_sys(err, ERR_NO_SPACE, errnum, "%s '%.160s'", what, u->path);
    case ELOOP:
    case ENOTDIR:
        return refuse(u, err, "leads through something that is no folder");
    case EISDIR:
    case EEXIST:
    case ENOTEMPTY:
        return err_sys(err, ERR_FILE_KIND, errnum, "%s '%.160s'", what, u->path);
    default:
        return err_sys(err, ERR_FILE_ACCESS, errnum, "%s '%.160s'", what, u->path);
    }
}

/* ---- places ---- */

/* "./a//b/" → "a/b" in out. False: it leads out of the folder. */
static bool clean(const char *path, char out[PATH_MAX])
{
    size_t n = 0;

    if (path[0] == '/')
        return false;
    while (*path != '\0') {
        size_t len = strcspn(path, "/");
        if (len == 2 && path[0] == '.' && path[1] == '.')
            return false;
        if (len > 0 && !(len == 1 && path[0] == '.')) {
            if (n > 0)
                out[n++] = '/';
            memcpy(out + n, path, len);
            n += len;
        }
        path += len + (path[len] == '/');
    }
    out[n] = '\0';
    return true;
}

static void forget_parent(struct unpack *u)
{
    if (u->parent_fd >= 0 && u->parent_fd != u->root_fd)
        close(u->parent_fd);
    u->parent_fd = -1;
}

/* One component after the other; missing ones are made. Returns a descriptor or -errno. */
static int make_folders(int root_fd, char *path)
{
    cleanup_fd int at = -1;

    for (char *part = path; part != NULL;) {
        char *slash = strchr(part, '/');
        if (slash != NULL)
            *slash = '\0';
        int from = at >= 0 ? at : root_fd;
        bool made = mkdirat(from, part, FOLDER_MODE) == 0;
        int errnum = errno;
        int next = made || errnum == EEXIST
                       ? openat(from, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                       : -1;
        if (next < 0)
            return made || errnum == EEXIST ? -errno : -errnum;
        guard_fd(&at);
        at = next;
        part = slash != NULL ? slash + 1 : NULL;
    }
    return take_fd(&at);
}

/* Opens the folder of u->path, or keeps the one of the member before. */
static int open_parent(struct unpack *u, struct err *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(u->path, '/');
    size_t len = slash != NULL ? (size_t)(slash - u->path) : 0;

    u->name = u->path + len + (slash != NULL);
    memcpy(folder, u->path, len);
    folder[len] = '\0';
    if (u->parent_fd >= 0 && strcmp(folder, u->parent) == 0)
        return 0;
    forget_parent(u);
    memcpy(u->parent, folder, len + 1);
    u->parent_fd = u->root_fd;
    if (len > 0)
        u->parent_fd = path_open_beneath(u->root_fd, folder, O_PATH | O_DIRECTORY, 0);
    if (u->parent_fd == -ENOENT)
        u->parent_fd = make_folders(u->root_fd, folder);
    return u->parent_fd < 0 ? fail(u, err, -u->parent_fd, "open the folder of") : 0;
}

/* ---- members ---- */

static int put_in_place(struct unpack *u, struct err *err)
{
    if (renameat(u->parent_fd, u->temp, u->parent_fd, u->name) < 0)
        return fail(u, err, errno, "put in place");
    u->temp[0] = '\0';
    return 0;
}

static int begin_file(struct unpack *u, struct err *err)
{
    int rc = temp_make(u->parent_fd, u->temp, &u->fd);

    return rc < 0 ? fail(u, err, -rc, "write") : 0;
}

static int make_folder(struct unpack *u, struct err *err)
{
    char path[PATH_MAX];
    bool exists = mkdirat(u->parent_fd, u->name, FOLDER_MODE) < 0;

    if (exists && errno != EEXIST)
        return fail(u, err, errno, "make the folder");
    cleanup_fd int fd =
        openat(u->parent_fd, u->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && exists && errno == EACCES)
        return 0; /* there before us: as it is */
    if (fd < 0)
        return fail(u, err, errno, "make the folder");
    if (exists)
        return 0;
    if (u->options.keep_owner && fchown(fd, u->uid, u->gid) < 0)
        return fail(u, err, errno, "change the owner of");
    if ((u->mode & 0700) == 0700)
        return fchmod(fd, u->mode) < 0 ? fail(u, err, errno, "change the mode of") : 0;
    (void)snprintf(path, sizeof(path), "%s", u->path); /* as long as the other */
    strbuf_addf(&u->late, "%o %s", (unsigned)u->mode, path);
    strbuf_addc(&u->late, '\0');
    return strbuf_check(&u->late) == 0
               ? 0
               : err_set(err, ERR_INVALID_ARCHIVE, E2BIG,
                         "bad archive: too many folders that keep their owner out");
}

static int make_symlink(struct unpack *u, const char *target, struct err *err)
{
    temp_name(u->temp);
    if (symlinkat(target, u->parent_fd, u->temp) < 0) {
        int errnum = errno;
        u->temp[0] = '\0';
        return fail(u, err, errnum, "make the link");
    }
    if (u->options.keep_owner &&
        fchownat(u->parent_fd, u->temp, u->uid, u->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(u, err, errno, "change the owner of");
    return put_in_place(u, err);
}

/* To a file that is in the folder already, reached without any symbolic link. */
static int make_hard_link(struct unpack *u, const char *target, struct err *err)
{
    char path[PATH_MAX], folder[PATH_MAX];
    struct stat st;

    if (!clean(target, path) || path[0] == '\0')
        return refuse(u, err, "is a link that leads out of the folder");
    const char *name = path_basename(path);
    size_t len = name > path ? (size_t)(name - path) - 1 : 0;
    memcpy(folder, path, len);
    folder[len] = '\0';
    cleanup_fd int from =
        path_open_beneath(u->root_fd, len > 0 ? folder : ".", O_PATH | O_DIRECTORY, 0);
    if (from < 0)
        return fail(u, err, -from, "find the target of");
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail(u, err, errno, "find the target of");
    if (!S_ISREG(st.st_mode))
        return refuse(u, err, "is a hard link to something that is no file");
    temp_name(u->temp);
    if (linkat(from, name, u->parent_fd, u->temp, 0) < 0) {
        int errnum = errno;
        u->temp[0] = '\0';
        return fail(u, err, errnum, "link");
    }
    memcpy(path, u->temp, sizeof(u->temp));
    int rc = put_in_place(u, err);
    if (rc == 0)
        (void)unlinkat(u->parent_fd, path, 0); /* left when both were names of one file already */
    return rc;
}

static int on_member(void *arg, const struct tar_member *m, struct err *err)
{
    struct unpack *u = arg;

    u->counts.members++;
    if (!clean(m->path, u->path)) {
        (void)snprintf(u->path, sizeof(u->path), "%s", m->path); /* for the message */
        return refuse(u, err, "leads out of the folder");
    }
    if (u->path[0] == '\0')
        return m->type == TAR_FOLDER ? 0 : refuse(u, err, "names the folder itself");
    if (m->type == TAR_SPECIAL)
        return refuse(u, err, "is a device or a FIFO");
    if (m->uid >= UINT32_MAX || m->gid >= UINT32_MAX)
        return refuse(u, err, "has an owner beyond 32 bits");
    u->uid = (uid_t)m->uid;
    u->gid = (gid_t)m->gid;
    u->mode = (mode_t)(m->mode & (u->options.keep_set_id ? 07777 : 0777));
    u->mtime = (struct timespec){.tv_sec = m->mtime};
    int rc = open_parent(u, err);
    if (rc < 0)
        return rc;
    switch (m->type) {
    case TAR_FILE:
        return begin_file(u, err);
    case TAR_FOLDER:
        return make_folder(u, err);
    case TAR_SYMLINK:
        return make_symlink(u, m->link, err);
    case TAR_HARD_LINK:
        return make_hard_link(u, m->link, err);
    case TAR_SPECIAL:
        break;
    }
    return 0;
}

static int on_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct unpack *u = arg;
    int rc = fd_write_all(u->fd, p, n);

    u->counts.bytes += n;
    return rc < 0 ? fail(u, err, -rc, "write") : 0;
}

/* Owner first: chown clears set-id bits. */
static int end_file(struct unpack *u, struct err *err)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, u->mtime};

    if (u->options.keep_owner && fchown(u->fd, u->uid, u->gid) < 0)
        return fail(u, err, errno, "change the owner of");
    if (fchmod(u->fd, u->mode) < 0)
        return fail(u, err, errno, "change the mode of");
    (void)futimens(u->fd, times); /* a time that the file system cannot keep is no reason to fail */
    if (close(take_fd(&u->fd)) < 0)
        return fail(u, err, errno, "write");
    return put_in_place(u, err);
}

static int on_member_end(void *arg, struct err *err)
{
    struct unpack *u = arg;

    return u->fd >= 0 ? end_file(u, err) : 0;
}

/* ---- life ---- */

static const struct tar_ops ops = {on_member, on_data, on_member_end};

int unpack_new(const char *root, const struct unpack_options *options, struct unpack **ret_unpack,
               struct err *err)
{
    struct unpack *u = calloc(1, sizeof(*u));

    if (u == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the archive");
    int rc = path_mkdirs_in_root(AT_FDCWD, root, FOLDER_MODE);
    (void)snprintf(u->path, sizeof(u->path), "%s", root); /* for messages */
    u->parent_fd = u->fd = -1;
    u->root_fd = rc == 0 ? open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    u->options = *options;
    tar_reader_init(&u->reader, &ops, u);
    strbuf_init(&u->late, LATE_MAX);
    if (u->root_fd < 0) {
        int errnum = rc < 0 ? -rc : errno;
        rc = errnum == ENOTDIR || errnum == EEXIST
                 ? err_set(err, ERR_FILE_KIND, errnum, "'%.160s' is not a directory", root)
                 : fail(u, err, errnum, "open the folder");
        unpack_free(u);
        return rc;
    }
    *ret_unpack = u;
    return 0;
}

void unpack_free(struct unpack *u)
{
    if (u == NULL)
        return;
    if (u->temp[0] != '\0')
        (void)unlinkat(u->parent_fd, u->temp, 0); /* best effort: nothing else can be done */
    guard_fd(&u->fd);
    forget_parent(u);
    guard_fd(&u->root_fd);
    tar_reader_done(&u->reader);
    strbuf_done(&u->late);
    free(u);
}

int unpack_feed(struct unpack *u, const char *p, size_t n, struct err *err)
{
    return tar_reader_feed(&u->reader, p, n, err);
}

/* The last one first: a folder is closed after those inside it. */
static int set_late_modes(struct unpack *u, struct err *err)
{
    for (size_t end = u->late.len; end > 0;) {
        size_t at = end - 1;
        while (at > 0 && u->late.data[at - 1] != '\0')
            at--;
        const char *path = strchr(u->late.data + at, ' ') + 1;
        cleanup_fd int fd = path_open_beneath(u->root_fd, path, O_RDONLY | O_DIRECTORY, 0);
        mode_t mode = (mode_t)strtoul(u->late.data + at, NULL, 8);
        if (fd < 0 || fchmod(fd, mode) < 0)
            return fail(u, err, fd < 0 ? -fd : errno, "change the mode of a folder below");
        end = at;
    }
    return 0;
}

int unpack_finish(struct unpack *u, struct unpack_counts *ret_counts, struct err *err)
{
    int rc = tar_reader_finish(&u->reader, err);

    if (rc == 0)
        rc = set_late_modes(u, err);
    *ret_counts = u->counts;
    return rc;
}
