#include "proto/base/cgroupfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "proto/base/cgroupfs_priv.h"
#include "proto/base/fd.h"
#include "proto/base/str.h"

#define PROC_TEXT_MAX (16 * 1024 * 1024) /* a thousand sandboxes are some 2 MiB of mountinfo */

static const char *const controller_names[CGROUP_CONTROLLER_MAX] = {
    [CGROUP_CPU] = "cpu",         [CGROUP_CPUACCT] = "cpuacct", [CGROUP_MEMORY] = "memory",
    [CGROUP_PIDS] = "pids",       [CGROUP_IO] = "blkio",        [CGROUP_FREEZER] = "freezer",
    [CGROUP_DEVICES] = "devices", [CGROUP_UNIFIED] = "",
};

const char *cgroup_controller_name(enum cgroup_controller c)
{
    return controller_names[c];
}

void cgroup_dirs_init(struct cgroup_dirs *d)
{
    for (size_t i = 0; i < CGROUP_CONTROLLER_MAX; i++) {
        d->fd[i] = -1;
        d->v2[i] = false;
    }
}

void cgroup_dirs_done(struct cgroup_dirs *d)
{
    for (size_t i = 0; i < CGROUP_CONTROLLER_MAX; i++) {
        if (d->fd[i] >= 0)
            close(d->fd[i]);
        d->fd[i] = -1;
    }
}

/* A controller that no v1 hierarchy has may live in the unified one. */
static bool unified_has(int fd, enum cgroup_controller c)
{
    const char *name = c == CGROUP_IO ? "io" : controller_names[c];
    char text[512];

    if (c == CGROUP_FREEZER || c == CGROUP_DEVICES)
        return false;
    if (c == CGROUP_CPUACCT)
        return faccessat(fd, "cpu.stat", F_OK, 0) ==
               0; /* in every group, with the controller or without */
    ssize_t n = fd_slurp_at(fd, "cgroup.controllers", text, sizeof(text));
    char *rest = NULL;
    for (char *word = n > 0 ? strtok_r(text, " \n", &rest) : NULL; word != NULL;
         word = strtok_r(NULL, " \n", &rest)) {
        if (strcmp(word, name) == 0)
            return true;
    }
    return false;
}

/* -1 for a folder that is gone, forbidden, or hidden below another mount. */
static int open_group(const char *folder)
{
    struct statfs fs;
    cleanup_fd int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fstatfs(fd, &fs) < 0 ||
        (fs.f_type != CGROUP_SUPER_MAGIC && fs.f_type != CGROUP2_SUPER_MAGIC))
        return -1;
    return take_fd(&fd);
}

int cgroup_dirs_open_self(struct cgroup_dirs *d)
{
    cleanup_free char *cgroups = NULL, *mounts = NULL;
    char folder[PATH_MAX];
    size_t len;

    cgroup_dirs_init(d);
    if (fd_slurp_alloc(AT_FDCWD, "/proc/self/cgroup", PROC_TEXT_MAX, &cgroups, &len) < 0 ||
        fd_slurp_alloc(AT_FDCWD, "/proc/self/mountinfo", PROC_TEXT_MAX, &mounts, &len) < 0)
        return 0; /* no /proc: nothing to see */
    for (size_t c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (cgroup_own_folder(cgroups, mounts, controller_names[c], folder) < 0)
            continue;
        d->fd[c] = open_group(folder);
    }
    int unified = d->fd[CGROUP_UNIFIED];
    d->v2[CGROUP_UNIFIED] = unified >= 0;
    for (size_t c = 0; unified >= 0 && c < CGROUP_UNIFIED; c++) {
        if (d->fd[c] < 0 && unified_has(unified, (enum cgroup_controller)c)) {
            d->fd[c] = fd_dup_cloexec(unified);
            d->v2[c] = d->fd[c] >= 0;
        }
    }
    return 0;
}

static bool is_child_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* EEXIST is fine: several controllers may share one directory. Sets made when this call made it. */
static int make_one(int parent, const char *name, bool *made)
{
    *made = mkdirat(parent, name, 0755) == 0;
    if (!*made && errno != EEXIST)
        return -errno;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int cgroup_dirs_make_child(const struct cgroup_dirs *parent, const char *name,
                           struct cgroup_dirs *ret_child, struct err *err)
{
    bool made[CGROUP_CONTROLLER_MAX] = {false};
    struct cgroup_dirs child;
    int fd = 0;

    if (!is_child_name(name))
        return err_set(err, 0, EINVAL, "'%.64s' is no name for a cgroup", name);
    cgroup_dirs_init(&child);
    size_t c = 0;
    for (; c < CGROUP_CONTROLLER_MAX; c++) {
        if (parent->fd[c] < 0)
            continue;
        fd = make_one(parent->fd[c], name, &made[c]);
        if (fd < 0)
            break;
        child.fd[c] = fd;
        child.v2[c] = parent->v2[c];
    }
    if (fd >= 0) {
        *ret_child = child;
        return 0;
    }
    cgroup_dirs_done(&child);
    for (size_t i = 0; i <= c; i++)
        if (made[i])
            (void)unlinkat(parent->fd[i], name, AT_REMOVEDIR); /* just made: empty */
    return err_sys(err, 0, -fd, "make cgroup '%s' (%s)", name,
                   c == CGROUP_UNIFIED ? "cgroup2" : controller_names[c]);
}

int cgroup_dirs_remove_child(const struct cgroup_dirs *parent, const char *name)
{
    int rc = 0;

    if (!is_child_name(name))
        return -EINVAL;
    for (size_t c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (parent->fd[c] >= 0 && unlinkat(parent->fd[c], name, AT_REMOVEDIR) < 0 &&
            errno != ENOENT && rc == 0)
            rc = -errno;
    }
    return rc;
}

int cgroup_read_u64(int dirfd, const char *file, uint64_t *ret_value)
{
    char text[64];
    ssize_t n = fd_slurp_at(dirfd, file, text, sizeof(text));

    if (n < 0)
        return (int)n;
    text[strcspn(text, "\n")] = '\0';
    if (strcmp(text, "max") == 0) {
        *ret_value = UINT64_MAX;
        return 0;
    }
    return str_to_u64(text, ret_value);
}

int cgroup_read_keyed(int dirfd, const char *file, const char *key, uint64_t *ret_value)
{
    char text[16384];
    ssize_t n = fd_slurp_at(dirfd, file, text, sizeof(text));
    size_t len = strlen(key);

    if (n < 0)
        return (int)n;
    for (char *line = text; *line != '\0';) {
        char *end = strchrnul(line, '\n');
        if (strncmp(line, key, len) == 0 && line[len] == ' ') {
            *end = '\0';
            return str_to_u64(line + len + 1, ret_value);
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return -ENODATA;
}

int cgroup_write(int dirfd, const char *file, const char *text)
{
    return fd_spew_at(dirfd, file, text);
}
