/* One sandbox's group, by its paths: the operations that must work whatever process made it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proto/base/fd.h"
#include "server/runtime/native/groups.h"

#define DEPTH_MAX 16 /* execd nests two levels; the workload has no say */

static int open_dir(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static bool has_file(const char *dir, const char *file)
{
    cleanup_fd int fd = open_dir(dir);

    return fd >= 0 && faccessat(fd, file, F_OK, 0) == 0;
}

int group_kill(const struct jstrings *paths)
{
    for (size_t i = 0; i < paths->n; i++) {
        struct cgroup_dirs one;
        cgroup_dirs_init(&one);
        int fd = open_dir(paths->items[i]);
        if (fd < 0)
            continue;
        bool v2 = faccessat(fd, "cgroup.kill", F_OK, 0) == 0;
        one.fd[v2 ? CGROUP_UNIFIED : CGROUP_PIDS] = fd;
        one.v2[CGROUP_UNIFIED] = v2;
        /* Every hierarchy holds the same processes: one is enough, the others catch a half-made sandbox. */
        int rc = cgroup_kill_all(&one);
        cgroup_dirs_done(&one);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Children first: a group with sub-groups cannot go. */
static int remove_below(int dirfd, const char *name, int depth)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const struct dirent *entry;
    int rc = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return -ENOMEM;
    }
    while (rc == 0 && depth > 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            rc = remove_below(fd, entry->d_name, depth - 1);
    }
    closedir(dir);
    if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = -errno;
    return rc;
}

int group_remove(const struct jstrings *paths)
{
    int first = 0;

    for (size_t i = 0; i < paths->n; i++) {
        int rc = remove_below(AT_FDCWD, paths->items[i], DEPTH_MAX);
        if (first == 0)
            first = rc;
    }
    return first;
}

static void thaw(int dirfd, void *arg)
{
    (void)arg;
    /* Either file is missing in most groups. */
    (void)!cgroup_write(dirfd, "freezer.state", "THAWED");
    (void)!cgroup_write(dirfd, "cgroup.freeze", "0");
}

void group_thaw_all(const struct jstrings *paths)
{
    for (size_t i = 0; i < paths->n; i++) {
        if (!has_file(paths->items[i], "freezer.state") &&
            !has_file(paths->items[i], "cgroup.freeze"))
            continue;
        cleanup_fd int fd = open_dir(paths->items[i]);
        if (fd >= 0)
            cgroup_walk(fd, thaw, NULL);
    }
}

/* The v1 freezer where there is one, else cgroup2's; NULL without any. */
static const char *freezer_of(const struct jstrings *paths, bool *ret_v2)
{
    for (int v2 = 0; v2 <= 1; v2++) {
        for (size_t i = 0; i < paths->n; i++) {
            if (has_file(paths->items[i], v2 ? "cgroup.freeze" : "freezer.state")) {
                *ret_v2 = v2;
                return paths->items[i];
            }
        }
    }
    return NULL;
}

int group_freeze(const struct jstrings *paths, bool frozen)
{
    bool v2;
    const char *path = freezer_of(paths, &v2);
    cleanup_fd int fd = path != NULL ? open_dir(path) : -1;

    if (path == NULL)
        return -EOPNOTSUPP;
    if (fd < 0)
        return -errno;
    return v2 ? cgroup_write(fd, "cgroup.freeze", frozen ? "1" : "0")
              : cgroup_write(fd, "freezer.state", frozen ? "FROZEN" : "THAWED");
}

bool group_is_settled(const struct jstrings *paths, bool frozen)
{
    bool v2;
    const char *path = freezer_of(paths, &v2);
    cleanup_fd int fd = path != NULL ? open_dir(path) : -1;
    uint64_t value;
    char text[32];

    if (fd < 0)
        return false;
    if (v2)
        return cgroup_read_keyed(fd, "cgroup.events", "frozen", &value) == 0 &&
               (value != 0) == frozen;
    return fd_slurp_at(fd, "freezer.state", text, sizeof(text)) > 0 &&
           strcmp(text, frozen ? "FROZEN\n" : "THAWED\n") == 0;
}

static bool counts_oom(int dirfd)
{
    uint64_t n;

    return (cgroup_read_keyed(dirfd, "memory.events", "oom_kill", &n) == 0 && n > 0) ||
           (cgroup_read_keyed(dirfd, "memory.oom_control", "oom_kill", &n) == 0 && n > 0);
}

bool group_had_oom(const struct jstrings *paths)
{
    for (size_t i = 0; i < paths->n; i++) {
        cleanup_fd int fd = open_dir(paths->items[i]);
        if (fd < 0)
            continue;
        /* v1 counts where it happened: in execd's sub-group `work`, or above it. */
        cleanup_fd int init = openat(fd, "init", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (counts_oom(fd) || (init >= 0 && counts_oom(init)))
            return true;
    }
    return false;
}
