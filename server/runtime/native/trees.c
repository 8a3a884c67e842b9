#include "server/runtime/native/trees.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"

static const struct {
    enum plan_tree tree;
    const char *path;
    unsigned major_number, minor_number; /* Linux Documentation/admin-guide/devices.txt */
} devices[] = {
    {TREE_NULL, "/dev/null", 1, 3},       {TREE_ZERO, "/dev/zero", 1, 5},
    {TREE_FULL, "/dev/full", 1, 7},       {TREE_RANDOM, "/dev/random", 1, 8},
    {TREE_URANDOM, "/dev/urandom", 1, 9}, {TREE_TTY, "/dev/tty", 5, 0},
};

bool trees_is_device(int fd, unsigned major_number, unsigned minor_number)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
           st.st_rdev == makedev(major_number, minor_number);
}

/* --- the map as a user namespace --- */

/* A child holds the new namespace open until we have it; it does nothing and needs nothing. */
static pid_t hold_userns(int *ret_end)
{
    int fds[2];
    char byte;

    if (fd_pipe(fds) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        byte = unshare(CLONE_NEWUSER) == 0 ? 0 : (char)errno;
        (void)!write(fds[1], &byte, 1); /* the reader takes a missing byte for a failure */
        pause();
        _exit(0);
    }
    close(fds[1]);
    *ret_end = fds[0];
    return pid;
}

static int map_userns(pid_t pid, uint32_t base, uint32_t count, struct err *err)
{
    static const char *const maps[] = {"uid_map", "gid_map"};
    char path[64], text[64];

    snprintf(text, sizeof(text), "0 %u %u\n", base, count);
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        snprintf(path, sizeof(path), "/proc/%d/%s", pid, maps[i]);
        int rc = fd_spew_at(AT_FDCWD, path, text);
        if (rc < 0)
            return err_sys(err, 0, -rc, "map %u users from %u on", count, base);
    }
    snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, 0, errno, "open %s", path) : fd;
}

static int open_userns(uint32_t base, uint32_t count, struct err *err)
{
    int end = -1, rc;
    char errnum = 0;
    pid_t pid = hold_userns(&end);
    cleanup_fd int guard = end;

    if (pid < 0)
        return err_sys(err, 0, errno, "fork");
    if (read(guard, &errnum, 1) != 1 || errnum != 0)
        rc = err_sys(err, 0, errnum != 0 ? errnum : EIO,
                     "user namespaces do not work here (see /proc/sys/user/max_user_namespaces and "
                     "the container "
                     "around us)");
    else
        rc = map_userns(pid, base, count, err);
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return rc;
}

/* --- what all sandboxes share --- */

static int open_devices(struct trees *t, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        int fd = open(devices[i].path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return err_sys(err, 0, errno, "open %s", devices[i].path);
        t->device[devices[i].tree] = fd;
        if (!trees_is_device(fd, devices[i].major_number, devices[i].minor_number))
            return err_set(err, 0, ENODEV, "%s of this host is not the character device %u:%u",
                           devices[i].path, devices[i].major_number, devices[i].minor_number);
    }
    return 0;
}

static int open_execd(const char *path, struct err *err)
{
    cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;

    if (fd < 0)
        return err_sys(err, ERR_SANDBOX_START_FAILED, errno, "the execd binary '%.150s'", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0)
        return err_set(err, ERR_SANDBOX_START_FAILED, EACCES,
                       "the execd binary '%.150s' is not an executable file", path);
    return take_fd(&fd);
}

void trees_done(struct trees *t)
{
    for (int i = 0; i < TREE_MAX; i++) {
        if (t->device[i] >= 0)
            close(t->device[i]);
        t->device[i] = -1;
    }
    if (t->userns >= 0)
        close(t->userns);
    t->userns = -1;
    free(t->execd_path);
    t->execd_path = NULL;
}

int trees_open(const char *execd_path, uint32_t uid_base, uint32_t uid_count,
               struct trees *ret_trees, struct err *err)
{
    struct trees t = {.userns = -1, .execd_path = xstrdup(execd_path)};

    for (int i = 0; i < TREE_MAX; i++)
        t.device[i] = -1;
    cleanup_fd int execd = open_execd(execd_path, err); /* what every start would run into */
    int rc = execd;

    if (rc >= 0)
        rc = open_devices(&t, err);
    if (rc == 0) {
        t.userns = open_userns(uid_base, uid_count, err);
        rc = t.userns < 0 ? t.userns : 0;
    }
    if (rc < 0)
        trees_done(&t);
    else
        *ret_trees = t;
    return rc;
}

/* --- one sandbox --- */

static int clone_tree(int fd, const char *path, const struct mount_attr *attr)
{
    unsigned flags =
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (path[0] == '\0' ? (unsigned)AT_EMPTY_PATH : 0U);
    cleanup_fd int tree = open_tree(fd, path, flags);

    if (tree < 0)
        return -errno;
    struct mount_attr copy = *attr;
    copy.propagation = MS_PRIVATE;
    if (mount_setattr(tree, "", AT_EMPTY_PATH, &copy, sizeof(copy)) < 0)
        return -errno;
    return take_fd(&tree);
}

int trees_clone_dir(int fd)
{
    static const struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                                       MOUNT_ATTR_NOEXEC};

    return clone_tree(fd, "", &attr);
}

static int put_tree(struct plan *plan, enum plan_tree which, int tree, const char *what,
                    struct err *err)
{
    if (tree < 0)
        return err_sys(err, ERR_SANDBOX_START_FAILED, -tree, "prepare %s", what);
    plan->tree[which] = tree;
    return 0;
}

static int prepare_devices(const struct trees *t, struct plan *plan, struct err *err)
{
    static const struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                                           .attr_clr = MOUNT_ATTR_NODEV};

    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        int tree = clone_tree(t->device[devices[i].tree], "", &attr);
        int rc = put_tree(plan, devices[i].tree, tree, devices[i].path, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int trees_prepare(const struct trees *t, const char *rootfs, int fs_fd, struct plan *plan,
                  struct err *err)
{
    const struct mount_attr lower = {
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_IDMAP,
        .userns_fd = (unsigned)t->userns,
    };
    static const struct mount_attr own = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    static const struct mount_attr binary = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                                         MOUNT_ATTR_NODEV};

    int rc = put_tree(plan, TREE_LOWER, clone_tree(AT_FDCWD, rootfs, &lower),
                      "the image as an idmapped layer (its file system must support that)", err);
    if (rc == 0)
        rc = put_tree(plan, TREE_FS, clone_tree(fs_fd, "", &own), "the sandbox's folder", err);
    cleanup_fd int execd = rc == 0 ? open_execd(t->execd_path, err) : -1;
    if (rc == 0 && execd < 0)
        return -err->errnum;
    if (rc == 0)
        rc = put_tree(plan, TREE_EXECD, clone_tree(execd, "", &binary), "the execd binary", err);
    return rc < 0 ? rc : prepare_devices(t, plan, err);
}
