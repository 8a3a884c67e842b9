#include "execd/files/place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/api/errors.h"
#include "proto/base/cleanup.h"
#include "proto/base/defs.h"

#define LINKS_MAX 40 /* as the kernel: path_resolution(7) */
#define FOLDER_MODE 0755

struct way {
    unsigned links;
    bool make;
    struct place_owner owner;
};

int place_fail(struct err *err, int errnum, const char *what, const char *path)
{
    int code = ERR_FILE_ACCESS;

    if (place_is_missing(errnum))
        return err_sys(err, ERR_FILE_NOT_FOUND, errnum, "file not found. %s '%s'", what, path);
    if (errnum == ENOSPC || errnum == EDQUOT)
        code = ERR_NO_SPACE;
    if (errnum == ENAMETOOLONG)
        code = ERR_INVALID_PATH;
    return err_sys(err, code, errnum, "%s '%s'", what, path);
}

void place_done(struct place *place)
{
    guard_fd(&place->dir_fd);
    *place = PLACE_UNSET;
}

int place_check_writable(const struct place *place)
{
    return faccessat(place->dir_fd, place->name, W_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0
               ? -errno
               : 0;
}

static bool is_foreign(uid_t uid)
{
    return uid != 0 && uid != geteuid();
}

static int walk(struct way *w, int *fd, const char *path, size_t len);

/* The text of a link, and where it begins. */
static int read_link(struct way *w, int dir_fd, int link_fd, char text[PATH_MAX], int *ret_from)
{
    ssize_t n = readlinkat(link_fd, "", text, PATH_MAX);

    if (n < 0)
        return -errno;
    if (n == 0 || n == PATH_MAX)
        return -ENAMETOOLONG;
    if (++w->links > LINKS_MAX)
        return -ELOOP;
    text[n] = '\0';
    *ret_from = openat(dir_fd, text[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return *ret_from < 0 ? -errno : 0;
}

static int follow_to_folder(struct way *w, int *fd, int link_fd, uid_t owner)
{
    bool make = w->make;
    char text[PATH_MAX];
    cleanup_fd int at = -1;
    struct stat st;

    int rc = read_link(w, *fd, link_fd, text, &at);
    if (rc < 0)
        return rc;
    w->make = make && !is_foreign(owner);
    rc = walk(w, &at, text, strlen(text));
    w->make = make;
    if (rc < 0)
        return rc;
    if (fstat(at, &st) < 0)
        return -errno;
    if (is_foreign(owner) && st.st_uid != owner)
        return -EACCES;
    close(*fd);
    *fd = take_fd(&at);
    return 0;
}

/* By the descriptor: nobody else knows the folder yet, but its name may be exchanged already. */
static int own(const struct way *w, int fd, const char *name)
{
    if (w->owner.uid == (uid_t)-1 && w->owner.gid == (gid_t)-1)
        return 0;
    cleanup_fd int made = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made < 0 || fchown(made, w->owner.uid, w->owner.gid) < 0)
        return -errno;
    return 0;
}

static int open_component(const struct way *w, int fd, const char *name)
{
    int next = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (next >= 0 || errno != ENOENT || !w->make)
        return next < 0 ? -errno : next;
    if (mkdirat(fd, name, FOLDER_MODE) == 0) {
        int rc = own(w, fd, name);
        if (rc < 0)
            return rc;
    } else if (errno != EEXIST) {
        return -errno;
    }
    next = openat(fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return next < 0 ? -errno : next;
}

/* From the folder *fd to the folder `name` in it. */
static int enter(struct way *w, int *fd, const char *name)
{
    cleanup_fd int next = open_component(w, *fd, name);
    struct stat st;

    if (next < 0)
        return next;
    if (fstat(next, &st) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return follow_to_folder(w, fd, next, st.st_uid);
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    close(*fd);
    *fd = take_fd(&next);
    return 0;
}

static int walk(struct way *w, int *fd, const char *path, size_t len)
{
    for (size_t at = 0; at < len;) {
        char name[NAME_MAX + 1];
        size_t n = strcspn(path + at, "/");
        n = MIN(n, len - at);
        if (n > NAME_MAX)
            return -ENAMETOOLONG;
        memcpy(name, path + at, n);
        name[n] = '\0';
        int rc = n > 0 ? enter(w, fd, name) : 0;
        if (rc < 0)
            return rc;
        at += n + 1;
    }
    return 0;
}

/* Everything but the last component; that one becomes the name. */
static int walk_to_parent(struct way *w, int *fd, const char *path, char name[NAME_MAX + 1])
{
    size_t len = strlen(path);

    while (len > 0 && path[len - 1] == '/')
        len--;
    size_t end = len;
    while (len > 0 && path[len - 1] != '/')
        len--;
    if (end - len > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, path + len, end - len);
    name[end - len] = '\0';
    if (end == len)
        memcpy(name, ".", 2);
    return walk(w, fd, path, len);
}

/* A link at the end: 0 when there is none. */
static int follow_end(struct way *w, struct place *p)
{
    cleanup_fd int link_fd = openat(p->dir_fd, p->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    char text[PATH_MAX];
    cleanup_fd int at = -1;
    struct stat st, end;
    bool make = w->make;

    if (link_fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(link_fd, &st) < 0)
        return -errno;
    if (!S_ISLNK(st.st_mode))
        return 0;
    int rc = read_link(w, p->dir_fd, link_fd, text, &at);
    if (rc < 0)
        return rc;
    struct place next = {.dir_fd = take_fd(&at)};
    w->make = make && !is_foreign(st.st_uid);
    rc = walk_to_parent(w, &next.dir_fd, text, next.name);
    w->make = make;
    if (rc == 0)
        rc = follow_end(w, &next);
    if (rc == 0 && is_foreign(st.st_uid) &&
        (fstatat(next.dir_fd, next.name, &end, AT_SYMLINK_NOFOLLOW) < 0 || end.st_uid != st.st_uid))
        rc = -EACCES;
    if (rc < 0) {
        place_done(&next);
        return rc;
    }
    place_done(p);
    *p = next;
    return 0;
}

int place_find(const char *path, unsigned flags, const struct place_owner *owner,
               struct place *ret_place, struct err *err)
{
    struct way w = {.make = (flags & PLACE_MKDIRS) != 0, .owner = {(uid_t)-1, (gid_t)-1}};
    struct place p = {.dir_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};

    if (owner != NULL)
        w.owner = *owner;
    int rc = p.dir_fd < 0 ? -errno : walk_to_parent(&w, &p.dir_fd, path, p.name);
    if (rc == 0 && (flags & PLACE_FOLLOW) != 0)
        rc = follow_end(&w, &p);
    if (rc < 0) {
        place_done(&p);
        return place_fail(err, -rc, "resolve", path);
    }
    *ret_place = p;
    return 0;
}
