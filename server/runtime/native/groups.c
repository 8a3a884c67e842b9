#include "server/runtime/native/groups.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/str.h"

#define CPU_PERIOD_US 100000
#define CPU_QUOTA_MIN_US 1000 /* the kernel refuses less */
#define MEMORY_MIN (16 << 20) /* below this execd itself does not fit */
#define PIDS_MIN 16

static const enum cgroup_controller every[] = {CGROUP_CPU,     CGROUP_CPUACCT, CGROUP_MEMORY,
                                               CGROUP_PIDS,    CGROUP_IO,      CGROUP_FREEZER,
                                               CGROUP_DEVICES, CGROUP_UNIFIED};

/* What a sandbox may open under the v1 devices controller: null zero full random urandom tty ptmx and its pts.
 * In the user namespace no node can be made anyhow; this is the second belt (hardening L10). */
static const char *const devices_allowed[] = {
    "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
    "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm",
};

static const char *label(enum cgroup_controller c)
{
    return c == CGROUP_UNIFIED ? "cgroup2" : cgroup_controller_name(c);
}

/* --- the parent --- */

/* cgroup2 gives controllers to children only from a group without processes of its own: the server steps down into
 * this leaf when it is alone there. A service manager may have put it there already (systemd: DelegateSubgroup=). */
#define LEAF "server"

static void enable_controllers(int own)
{
    static const char *const wanted[] = {"+cpu", "+memory", "+pids", "+io"};

    if (cgroup_write(own, "cgroup.subtree_control", "+pids") == -EBUSY &&
        (mkdirat(own, LEAF, 0755) == 0 || errno == EEXIST)) {
        cleanup_fd int leaf = openat(own, LEAF, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (leaf >= 0)
            (void)!cgroup_write(leaf, "cgroup.procs",
                                "0"); /* what then cannot be enabled is reported per limit */
    }
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        (void)!cgroup_write(own, "cgroup.subtree_control",
                            wanted[i]); /* one by one: some may be missing */
}

static char *path_of(int fd)
{
    char link[64], path[PATH_MAX];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n <= 0)
        return NULL;
    path[n] = '\0';
    return strdup(path);
}

/* From the leaf back to the group that it belongs to: sandboxes are its siblings in every run of the server. Below the
 * leaf they would make it an inner group, which takes no process, and no server could be started there again. */
static int step_up(struct cgroup_dirs *own)
{
    cleanup_free char *path =
        own->fd[CGROUP_UNIFIED] >= 0 ? path_of(own->fd[CGROUP_UNIFIED]) : NULL;

    if (path == NULL || !str_ends(path, "/" LEAF))
        return 0;
    cleanup_fd int up = openat(own->fd[CGROUP_UNIFIED], "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (up < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_LEN(every); i++) {
        if (own->fd[every[i]] < 0 || !own->v2[every[i]])
            continue;
        if (dup3(up, own->fd[every[i]], O_CLOEXEC) < 0)
            return -errno;
    }
    return 0;
}

static int open_one(struct groups *g, const struct cgroup_dirs *own, enum cgroup_controller c,
                    const char *name)
{
    if (own->fd[c] < 0) {
        g->why[c] = xasprintf("this host has no %s controller that the server can see", label(c));
        return 0;
    }
    if (mkdirat(own->fd[c], name, 0755) == 0 || errno == EEXIST)
        g->parent.fd[c] = openat(own->fd[c], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g->parent.fd[c] < 0) {
        g->why[c] =
            xasprintf("the %s group '%s' cannot be made: %s", label(c), name, strerror(errno));
        return 0;
    }
    g->parent.v2[c] = own->v2[c];
    g->path[c] = path_of(g->parent.fd[c]);
    return g->path[c] == NULL ? -ENOMEM : 0;
}

/* The controllers of the own cgroup2 group may not have reached the parent (another process sits beside us). */
static void check_v2(struct groups *g, enum cgroup_controller c)
{
    static const char *const probe[CGROUP_CONTROLLER_MAX] = {[CGROUP_CPU] = "cpu.max",
                                                             [CGROUP_MEMORY] = "memory.max",
                                                             [CGROUP_PIDS] = "pids.max",
                                                             [CGROUP_IO] = "io.stat"};

    if (g->parent.fd[c] < 0 || !g->parent.v2[c] || probe[c] == NULL ||
        faccessat(g->parent.fd[c], probe[c], F_OK, 0) == 0)
        return;
    close(g->parent.fd[c]);
    g->parent.fd[c] = -1;
    g->why[c] = xasprintf("the %s controller is not handed down to the server's cgroup '%s' "
                          "(run it as a systemd service with Delegate=yes)",
                          label(c), g->path[c]);
}

int groups_open(const char *name, struct groups *ret_groups, struct err *err)
{
    struct groups g = {.path = {NULL}};
    struct cgroup_dirs own;

    cgroup_dirs_init(&g.parent);
    int rc = cgroup_dirs_open_self(&own);
    if (rc == 0)
        rc = step_up(&own);
    if (rc == 0 && own.fd[CGROUP_UNIFIED] >= 0)
        enable_controllers(own.fd[CGROUP_UNIFIED]);
    for (size_t i = 0; i < ARRAY_LEN(every) && rc == 0; i++)
        rc = open_one(&g, &own, every[i], name);
    if (rc == 0 && g.parent.fd[CGROUP_UNIFIED] >= 0)
        enable_controllers(g.parent.fd[CGROUP_UNIFIED]);
    for (size_t i = 0; i < ARRAY_LEN(every) && rc == 0; i++)
        check_v2(&g, every[i]);
    cgroup_dirs_done(&own);
    if (rc < 0) {
        groups_done(&g);
        return err_sys(err, 0, -rc, "open the control groups");
    }
    *ret_groups = g;
    return 0;
}

void groups_done(struct groups *g)
{
    cgroup_dirs_done(&g->parent);
    for (size_t c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        free(g->path[c]);
        free(g->why[c]);
        g->path[c] = g->why[c] = NULL;
    }
}

/* --- limits --- */

static int check_one(const struct groups *g, enum cgroup_controller c, const char *what,
                     uint64_t value, uint64_t min, struct err *err)
{
    if (value == 0)
        return 0;
    if (g->parent.fd[c] < 0)
        return err_set(err, ERR_LIMIT_UNAVAILABLE, EOPNOTSUPP, "the %s limit cannot be applied: %s",
                       what, g->why[c]);
    if (value < min)
        return err_set(err, ERR_INVALID_PARAMETER, EINVAL,
                       "the %s limit %llu is below the least that works, %llu", what,
                       (unsigned long long)value, (unsigned long long)min);
    return 0;
}

int groups_check(const struct groups *g, const struct group_limits *l, struct err *err)
{
    int rc = check_one(g, CGROUP_MEMORY, "memory", l->memory_bytes, MEMORY_MIN, err);

    if (rc == 0)
        rc = check_one(g, CGROUP_CPU, "cpu", l->millicpu, CPU_QUOTA_MIN_US * 1000 / CPU_PERIOD_US,
                       err);
    if (rc == 0)
        rc = check_one(g, CGROUP_PIDS, "pids", l->pids, PIDS_MIN, err);
    return rc;
}

static int put(int dirfd, const char *file, uint64_t value, struct err *err)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    int rc = cgroup_write(dirfd, file, text);
    return rc < 0 ? err_sys(err, ERR_LIMIT_UNAVAILABLE, -rc, "set %s to %s", file, text) : 0;
}

static int limit_memory(const struct cgroup_dirs *d, uint64_t bytes, struct err *err)
{
    int dir = d->fd[CGROUP_MEMORY];
    bool v2 = d->v2[CGROUP_MEMORY];

    int rc = put(dir, v2 ? "memory.max" : "memory.limit_in_bytes", bytes, err);
    if (rc < 0)
        return rc;
    /* No swap on top: a limit is a limit. Hosts without swap accounting lack the file. */
    const char *swap = v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes";
    if (faccessat(dir, swap, F_OK, 0) < 0)
        return 0;
    return put(dir, swap, v2 ? 0 : bytes, err);
}

static int limit_cpu(const struct cgroup_dirs *d, uint64_t millicpu, struct err *err)
{
    int dir = d->fd[CGROUP_CPU];
    uint64_t quota = millicpu * (CPU_PERIOD_US / 1000);
    char text[64];

    if (!d->v2[CGROUP_CPU]) {
        int rc = put(dir, "cpu.cfs_period_us", CPU_PERIOD_US, err);
        return rc < 0 ? rc : put(dir, "cpu.cfs_quota_us", quota, err);
    }
    snprintf(text, sizeof(text), "%llu %d", (unsigned long long)quota, CPU_PERIOD_US);
    int rc = cgroup_write(dir, "cpu.max", text);
    return rc < 0 ? err_sys(err, ERR_LIMIT_UNAVAILABLE, -rc, "set cpu.max to %s", text) : 0;
}

static int limit_devices(int dir, struct err *err)
{
    int rc = cgroup_write(dir, "devices.deny", "a");

    for (size_t i = 0; i < ARRAY_LEN(devices_allowed) && rc == 0; i++)
        rc = cgroup_write(dir, "devices.allow", devices_allowed[i]);
    return rc < 0 ? err_sys(err, 0, -rc, "set the devices of the group") : 0;
}

static int apply(const struct cgroup_dirs *d, const struct group_limits *l, struct err *err)
{
    int rc = 0;

    if (l->memory_bytes != 0)
        rc = limit_memory(d, l->memory_bytes, err);
    if (rc == 0 && l->millicpu != 0)
        rc = limit_cpu(d, l->millicpu, err);
    if (rc == 0 && l->pids != 0)
        rc = put(d->fd[CGROUP_PIDS], "pids.max", l->pids, err);
    if (rc == 0 && d->fd[CGROUP_DEVICES] >= 0)
        rc = limit_devices(d->fd[CGROUP_DEVICES], err);
    return rc;
}

/* The directory and the lists that move processes; never the limits. */
static int give(const struct cgroup_dirs *d, uid_t uid, struct err *err)
{
    static const char *const files[] = {"cgroup.procs", "tasks", "cgroup.threads",
                                        "cgroup.subtree_control"};

    for (size_t c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        if (d->fd[c] < 0)
            continue;
        if (fchown(d->fd[c], uid, uid) < 0)
            return err_sys(err, 0, errno, "give the %s group to uid %u",
                           label((enum cgroup_controller)c), uid);
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
            if (fchownat(d->fd[c], files[i], uid, uid, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
                return err_sys(err, 0, errno, "give '%s' to uid %u", files[i], uid);
        }
    }
    return 0;
}

int groups_make(const struct groups *g, const char *name, const struct group_limits *limits,
                uid_t uid, struct cgroup_dirs *ret_dirs, struct err *err)
{
    struct cgroup_dirs dirs;

    int rc = cgroup_dirs_make_child(&g->parent, name, &dirs, err);
    if (rc < 0)
        return rc;
    rc = apply(&dirs, limits, err);
    if (rc == 0)
        rc = give(&dirs, uid, err);
    if (rc < 0) {
        cgroup_dirs_done(&dirs);
        (void)!cgroup_dirs_remove_child(
            &g->parent, name); /* empty and ours; the first failure is what counts */
        return rc;
    }
    *ret_dirs = dirs;
    return 0;
}

int groups_paths(const struct groups *g, const char *name, struct arena *arena,
                 struct jstrings *ret_paths)
{
    struct jstrings paths = {.items =
                                 arena_alloc(arena, (CGROUP_CONTROLLER_MAX + 1) * sizeof(char *))};

    if (paths.items == NULL)
        return -ENOMEM;
    for (size_t c = 0; c < CGROUP_CONTROLLER_MAX; c++) {
        bool seen = g->parent.fd[c] < 0;
        for (size_t other = 0; other < c && !seen; other++)
            seen = g->parent.fd[other] >= 0 && strcmp(g->path[other], g->path[c]) == 0;
        if (seen)
            continue;
        paths.items[paths.n] = arena_printf(arena, "%s/%s", g->path[c], name);
        if (paths.items[paths.n++] == NULL)
            return -ENOMEM;
    }
    *ret_paths = paths;
    return 0;
}
