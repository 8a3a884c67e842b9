#include "proto/base/path.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/base/cleanup.h"
#include "proto/base/path_priv.h"
#include "proto/base/str.h"

#define OPEN_TRIES 64

/* Removes the last component of out (length *len), never more than there is. */
static void drop_last(char *out, size_t *len, size_t floor)
{
    while (*len > floor && out[*len - 1] != '/')
        (*len)--;
    if (*len > floor)
        (*len)--;
}

int path_clean(const char *in, char *out)
{
    bool absolute = in[0] == '/';
    size_t len = 0, floor = 0; /* components below floor are leading ".." and stay */

    while (*in != '\0') {
        size_t n = strcspn(in, "/");
        if (n == 2 && in[0] == '.' && in[1] == '.') {
            if (len > floor) {
                drop_last(out, &len, floor);
            } else if (!absolute) {
                if (len + 3 >= PATH_MAX)
                    return -ENAMETOOLONG;
                len += (size_t)snprintf(out + len, PATH_MAX - len, "%s..", len > 0 ? "/" : "");
                floor = len;
            }
        } else if (n > 0 && !(n == 1 && in[0] == '.')) {
            if (len + n + 1 >= PATH_MAX)
                return -ENAMETOOLONG;
            if (len > 0 || absolute)
                out[len++] = '/';
            memcpy(out + len, in, n);
            len += n;
        }
        in += n;
        in += strspn(in, "/");
    }
    if (len == 0)
        out[len++] = absolute ? '/' : '.';
    out[len] = '\0';
    return 0;
}

int path_join(const char *base, const char *rel, char *out)
{
    char joined[2 * PATH_MAX];

    if (rel[0] == '/')
        return path_clean(rel, out);
    int n = snprintf(joined, sizeof(joined), "%s/%s", base, rel);
    return n < 0 || (size_t)n >= sizeof(joined) ? -ENAMETOOLONG : path_clean(joined, out);
}

static bool is_name(char c, bool first)
{
    return c == '_' || isalpha((unsigned char)c) != 0 || (!first && isdigit((unsigned char)c) != 0);
}

/* Length of the name behind '$' ("{NAME}" or "NAME"); 0 if none begins there. */
static size_t variable_at(const char *p, const char **ret_name, size_t *ret_len)
{
    bool braces = p[1] == '{';
    const char *name = p + (braces ? 2 : 1);
    size_t n = 0;

    while (is_name(name[n], n == 0))
        n++;
    if (n == 0 || n >= 256 || (braces && name[n] != '}'))
        return 0;
    *ret_name = name;
    *ret_len = n;
    return n + (braces ? 3 : 1);
}

struct expansion {
    struct strbuf out;
    struct strbuf undefined;
};

/* Is name one of the comma-separated names? */
static bool is_listed(const struct strbuf *names, const char *name, size_t len)
{
    const char *at = names->data;

    while (at != NULL && *at != '\0') {
        size_t n = strcspn(at, ",");
        if (n == len && memcmp(at, name, len) == 0)
            return true;
        at += n;
        at += *at == ',' ? 1 : 0;
    }
    return false;
}

static void expand_variable(struct expansion *x, const char *name, size_t len,
                            path_lookup_fn lookup, void *arg)
{
    char key[256];

    memcpy(key, name, len);
    key[len] = '\0';
    const char *value = lookup(key, arg);
    if (value != NULL)
        strbuf_adds(&x->out, value);
    else if (!is_listed(&x->undefined, key, len))
        strbuf_addf(&x->undefined, "%s%s", x->undefined.len > 0 ? "," : "", key);
}

static int expand_home(struct expansion *x, path_lookup_fn lookup, void *arg, struct err *err)
{
    const char *home = lookup("HOME", arg);

    if (home == NULL || home[0] == '\0')
        return err_set(err, 0, EINVAL, "path begins with ~ but HOME is not set");
    strbuf_adds(&x->out, home);
    return 0;
}

int path_expand(const char *in, path_lookup_fn lookup, void *arg, char *out, struct err *err)
{
    struct expansion x;
    int rc = 0;

    strbuf_init(&x.out, PATH_MAX - 1);
    strbuf_init(&x.undefined, ERR_TEXT_MAX);
    if (in[0] == '~' && (in[1] == '/' || in[1] == '\0')) {
        rc = expand_home(&x, lookup, arg, err);
        in++;
    }
    while (rc == 0 && *in != '\0') {
        const char *name;
        size_t len, used = *in == '$' ? variable_at(in, &name, &len) : 0;
        if (used > 0) {
            expand_variable(&x, name, len, lookup, arg);
            in += used;
        } else {
            strbuf_addc(&x.out, *in++);
        }
    }
    if (rc == 0 && (x.out.no_memory || x.undefined.no_memory))
        rc = err_set(err, 0, ENOMEM, "no memory for the path");
    else if (rc == 0 && x.undefined.len > 0)
        rc = err_set(err, 0, EINVAL, "path references undefined environment variables: %.180s",
                     x.undefined.data);
    else if (rc == 0 && strbuf_check(&x.out) < 0)
        rc = err_set(err, 0, ENAMETOOLONG, "path is longer than %d bytes", PATH_MAX - 1);
    if (rc == 0)
        snprintf(out, PATH_MAX, "%s", x.out.len > 0 ? x.out.data : "");
    strbuf_done(&x.out);
    strbuf_done(&x.undefined);
    return rc;
}

/* Without openat2 (kernels before 5.6, old seccomp profiles): component by component below the root, each with
 * O_NOFOLLOW, so that nothing can lead out. Symbolic links are refused (-ELOOP) rather than resolved inside the root;
 * that loses some legitimate paths, never safety. ".." is then the lexical parent. */
int path_open_by_steps(int root_fd, const char *path, int flags, mode_t mode)
{
    char rooted[PATH_MAX], clean[PATH_MAX];
    const char *next = clean + 1;
    cleanup_fd int dir = -1;

    if (*path == '\0')
        return -ENOENT;
    int n = snprintf(rooted, sizeof(rooted), "/%s", path);
    int rc = n < 0 || (size_t)n >= sizeof(rooted) ? -ENAMETOOLONG : path_clean(rooted, clean);
    if (rc < 0)
        return rc;
    if (path[strlen(path) - 1] == '/') {
        if ((flags & O_CREAT) != 0)
            return -EISDIR;
        flags |= O_DIRECTORY;
    }
    for (;;) {
        int at = dir >= 0 ? dir : root_fd;
        char *slash = strchr(next, '/');
        if (slash != NULL)
            *slash = '\0';
        /* O_PATH|O_NOFOLLOW would open a link itself; O_DIRECTORY makes that ENOTDIR. */
        int step = slash != NULL ? O_PATH | O_DIRECTORY : flags;
        int fd = openat(at, *next != '\0' ? next : ".", step | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd < 0 || slash == NULL)
            return fd < 0 ? -errno : fd;
        guard_fd(&dir);
        dir = fd;
        next = slash + 1;
    }
}

static int open_by_kernel(int root_fd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                           .mode = makes ? mode & 07777 : 0,
                           .resolve = resolve | RESOLVE_NO_MAGICLINKS};
    long fd = -1;

    /* EAGAIN: something was renamed or mounted during ".."; the kernel asks for another try. */
    for (int tries = 0; fd < 0 && tries < OPEN_TRIES; tries++) {
        fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
        if (fd < 0 && errno != EAGAIN && errno != EINTR)
            break;
    }
    return fd < 0 ? -errno : (int)fd;
}

/* EPERM may be the file's or that of a seccomp profile which does not know the call: the steps find out. */
static int open_safely(int root_fd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    int fd = open_by_kernel(root_fd, path, flags, mode, resolve);

    return fd == -ENOSYS || fd == -EPERM ? path_open_by_steps(root_fd, path, flags, mode) : fd;
}

int path_open_in_root(int root_fd, const char *path, int flags, mode_t mode)
{
    return open_safely(root_fd, path, flags, mode, RESOLVE_IN_ROOT);
}

int path_open_beneath(int root_fd, const char *path, int flags, mode_t mode)
{
    return open_safely(root_fd, path, flags | O_NOFOLLOW, mode,
                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/* AT_FDCWD names no root to stay in: ordinary resolution. */
static int open_dir(int root_fd, const char *path)
{
    if (root_fd != AT_FDCWD)
        return path_open_in_root(root_fd, path, O_PATH | O_DIRECTORY, 0);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int path_mkdirs_in_root(int root_fd, const char *path, mode_t mode)
{
    char clean[PATH_MAX], part[PATH_MAX];

    int rc = path_clean(path, clean);
    if (rc < 0)
        return rc;
    for (size_t at = 0; clean[at] != '\0';) {
        size_t end = at + strspn(clean + at, "/");
        end += strcspn(clean + end, "/");
        memcpy(part, clean, end);
        part[end] = '\0';
        cleanup_fd int there = open_dir(root_fd, part);
        if (there < 0 && there != -ENOENT)
            return there;
        if (there < 0) {
            char parent[PATH_MAX];
            snprintf(parent, sizeof(parent), "%.*s", (int)at, clean);
            cleanup_fd int dir =
                open_dir(root_fd, at == 0 ? (clean[0] == '/' ? "/" : ".") : parent);
            if (dir < 0)
                return dir;
            if (mkdirat(dir, path_basename(part), mode) < 0) {
                if (errno != EEXIST)
                    return -errno;
                there =
                    open_dir(root_fd, part); /* made by another meanwhile, or a link to nowhere */
                if (there < 0)
                    return there;
            }
        }
        at = end;
    }
    return 0;
}

const char *path_basename(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}
