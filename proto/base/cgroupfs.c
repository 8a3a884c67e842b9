#include "proto/base/cgroupfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/cgroupfs_priv.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

#define PROC_TEXT_MAX (1024 * 1024)
#define KILL_ROUNDS 64
#define KILL_DEPTH 8

static const char *const controller_names[CGROUP_CONTROLLER_MAX] = {
    [CGROUP_CPU] = "cpu",     [CGROUP_CPUACCT] = "cpuacct", [CGROUP_MEMORY] = "memory",
    [CGROUP_PIDS] = "pids",   [CGROUP_IO] = "blkio",        [CGROUP_FREEZER] = "freezer",
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

/* Is word one of the comma-separated words of list[0..len)? The empty word matches the empty list. */
static bool list_has(const char *list, size_t len, const char *word)
{
    size_t want = strlen(word);

    if (want == 0)
        return len == 0;
    while (len > 0) {
        const char *comma = memchr(list, ',', len);
        size_t n = comma != NULL ? (size_t)(comma - list) : len;
        if (n == want && memcmp(list, word, want) == 0)
            return true;
        if (comma == NULL)
            return false;
        list = comma + 1;
        len -= n + 1;
    }
    return false;
}

static int copy_field(const char *from, const char *end, char *out)
{
    size_t n = (size_t)(end - from);

    if (n >= PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(out, from, n);
    out[n] = '\0';
    return 0;
}

int cgroup_parse_own_path(const char *text, const char *name, char *out)
{
    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        const char *list = memchr(line, ':', (size_t)(end - line));
        const char *path = list != NULL ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
        if (path != NULL && list_has(list + 1, (size_t)(path - list - 1), name))
            return copy_field(path + 1, end, out);
        line = *end == '\n' ? end + 1 : end;
    }
    return -ENOENT;
}

/* One line: id parent major:minor root point options [optional...] - type source super-options */
struct mount_line {
    const char *field[6], *field_end[6];
    const char *type, *type_end, *super, *super_end;
};

static bool split_mount(const char *line, const char *end, struct mount_line *m)
{
    const char *p = line;

    for (int i = 0; i < 6; i++) {
        const char *stop = memchr(p, ' ', (size_t)(end - p));
        if (stop == NULL)
            return false;
        m->field[i] = p;
        m->field_end[i] = stop;
        p = stop + 1;
    }
    const char *dash = memmem(p - 1, (size_t)(end - p + 1), " - ", 3);
    if (dash == NULL)
        return false;
    m->type = dash + 3;
    m->type_end = memchr(m->type, ' ', (size_t)(end - m->type));
    if (m->type_end == NULL)
        return false;
    const char *source_end = memchr(m->type_end + 1, ' ', (size_t)(end - m->type_end - 1));
    m->super = source_end != NULL ? source_end + 1 : end;
    m->super_end = end;
    return true;
}

static bool is_hierarchy(const struct mount_line *m, const char *name)
{
    size_t len = (size_t)(m->type_end - m->type);

    if (name[0] == '\0')
        return len == 7 && memcmp(m->type, "cgroup2", 7) == 0;
    return len == 6 && memcmp(m->type, "cgroup", 6) == 0 &&
           list_has(m->super, (size_t)(m->super_end - m->super), name);
}

int cgroup_parse_mount(const char *text, const char *name, char *ret_root, char *ret_point)
{
    struct mount_line m;

    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        if (split_mount(line, end, &m) && is_hierarchy(&m, name)) {
            int rc = copy_field(m.field[3], m.field_end[3], ret_root);
            return rc < 0 ? rc : copy_field(m.field[4], m.field_end[4], ret_point);
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return -ENOENT;
}

/* The group's folder below the mount point: the part of its path behind the mount's root. Inside a container
 * without a cgroup namespace the root is the container's own group; a group outside it cannot be seen. */
static int own_folder(const char *cgroups, const char *mounts, const char *name, char *out)
{
    char path[PATH_MAX], root[PATH_MAX], point[PATH_MAX];
    const char *below = path;

    int rc = cgroup_parse_own_path(cgroups, name, path);
    if (rc == 0)
        rc = cgroup_parse_mount(mounts, name, root, point);
    if (rc < 0)
        return rc;
    if (strcmp(root, "/") != 0) {
        size_t n = strlen(root);
        if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0'))
            below = ""; /* the mount shows just the group it was made for */
        else
            below = path + n;
    }
    int len = snprintf(out, PATH_MAX, "%s%s", point, below);
    return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* A controller that no v1 hierarchy has may live in the unified one. */
static bool unified_has(int fd, enum cgroup_controller c)
{
    const char *name = c == CGROUP_IO ? "io" : controller_names[c];
    char text[512];

    if (c == CGROUP_FREEZER || c == CGROUP_DEVICES)
        return false;
    if (c == CGROUP_CPUACCT)
        name = "cpu"; /* cpu.stat is in every group of a tree with or without the controller */
    ssize_t n = fd_slurp_at(fd, "cgroup.controllers", text, sizeof(text));
    char *rest = NULL;
    for (char *word = n > 0 ? strtok_r(text, " \n", &rest) : NULL; word != NULL;
         word = strtok_r(NULL, " \n", &rest)) {
        if (strcmp(word, name) == 0)
            return true;
    }
    return false;
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
        if (own_folder(cgroups, mounts, controller_names[c], folder) < 0)
            continue;
        d->fd[c] = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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

int cgroup_dirs_make_child(const struct cgroup_dirs *parent, const char *name, struct cgroup_dirs *ret_child,
                           struct err *err)
{
    cgroup_dirs_init(ret_child);
    for (size_t c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (parent->fd[c] < 0)
            continue;
        /* EEXIST also where two controllers share one directory. */
        if (mkdirat(parent->fd[c], name, 0755) == 0 || errno == EEXIST)
            ret_child->fd[c] = openat(parent->fd[c], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (ret_child->fd[c] < 0) {
            int errnum = errno;
            cgroup_dirs_done(ret_child);
            if (cgroup_dirs_remove_child(parent, name) < 0)
                errno = errnum; /* left-overs are empty folders; the first failure is what counts */
            return err_sys(err, 0, errnum, "make cgroup '%s' (%s)", name,
                           c == CGROUP_UNIFIED ? "cgroup2" : controller_names[c]);
        }
        ret_child->v2[c] = parent->v2[c];
    }
    return 0;
}

int cgroup_dirs_remove_child(const struct cgroup_dirs *parent, const char *name)
{
    int rc = 0;

    for (size_t c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (parent->fd[c] >= 0 && unlinkat(parent->fd[c], name, AT_REMOVEDIR) < 0 && errno != ENOENT)
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

/* The hierarchy whose process list is used: any one, they hold the same processes. */
static int any_dir(const struct cgroup_dirs *d)
{
    static const enum cgroup_controller order[] = {CGROUP_UNIFIED, CGROUP_PIDS,   CGROUP_FREEZER, CGROUP_MEMORY,
                                                   CGROUP_CPU,     CGROUP_DEVICES, CGROUP_IO};

    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        if (d->fd[order[i]] >= 0)
            return d->fd[order[i]];
    }
    return -1;
}

typedef void (*group_fn)(int dirfd, void *arg);

/* Calls fn for the directory and every group below it. */
static void walk(int dirfd, int depth, group_fn fn, void *arg)
{
    int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;

    fn(dirfd, arg);
    if (dir == NULL) {
        if (copy >= 0)
            close(copy);
        return;
    }
    while (depth > 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        cleanup_fd int child = openat(dirfd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (child >= 0)
            walk(child, depth - 1, fn, arg);
    }
    closedir(dir);
}

/* A group's list may be longer than any buffer: read in pieces, numbers may straddle them. */
static unsigned each_pid(int dirfd, int signum)
{
    cleanup_fd int fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    char buf[4096];
    unsigned found = 0;
    long pid = 0;
    ssize_t n;

    while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (isdigit((unsigned char)buf[i])) {
                pid = pid * 10 + (buf[i] - '0');
                continue;
            }
            if (pid > 0) {
                found++;
                if (signum != 0)
                    (void)kill((pid_t)pid, signum); /* it may be gone already */
            }
            pid = 0;
        }
    }
    return found;
}

static void count_group(int dirfd, void *arg)
{
    *(unsigned *)arg += each_pid(dirfd, 0);
}

static void kill_group(int dirfd, void *arg)
{
    *(unsigned *)arg += each_pid(dirfd, SIGKILL);
}

bool cgroup_is_empty(const struct cgroup_dirs *d)
{
    int dir = any_dir(d);
    unsigned n = 0;

    if (dir >= 0)
        walk(dir, KILL_DEPTH, count_group, &n);
    return n == 0;
}

int cgroup_kill_all(const struct cgroup_dirs *d)
{
    int dir = any_dir(d), freezer = d->fd[CGROUP_FREEZER];
    unsigned total = 0;

    if (dir < 0)
        return -ENODEV;
    /* One write that the kernel carries out against any fork race. */
    if (d->v2[CGROUP_UNIFIED] && d->fd[CGROUP_UNIFIED] >= 0 && cgroup_write(d->fd[CGROUP_UNIFIED], "cgroup.kill", "1") == 0) {
        walk(dir, KILL_DEPTH, count_group, &total);
        return (int)MIN(total, (unsigned)INT_MAX);
    }
    /* Frozen processes cannot fork: one round sees them all. Without a freezer, rounds until it stays empty. */
    bool frozen = freezer >= 0 && cgroup_write(freezer, "freezer.state", "FROZEN") == 0;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        unsigned n = 0;
        walk(dir, KILL_DEPTH, kill_group, &n);
        total += n;
        if (n == 0 || frozen)
            break;
    }
    if (frozen && cgroup_write(freezer, "freezer.state", "THAWED") < 0) /* the signals are pending: they die on waking */
        return -EIO;
    return (int)MIN(total, (unsigned)INT_MAX);
}
