#include "execd/isolate/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "proto/base/path.h"
#include "proto/base/str.h"

#define SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};

static const struct {
    const char *name, *target;
} device_links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

/* ---- detached trees ---- */

/* A detached copy of what is mounted at path; -errno. */
static int clone_tree(const char *path, bool recursive, uint64_t attr, struct err *err)
{
    struct mount_attr set = {.attr_set = attr};
    unsigned depth = recursive ? AT_RECURSIVE : 0;
    cleanup_fd int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | depth);

    if (fd < 0)
        return err_sys(err, 0, errno, "copy the mount of '%.150s'", path);
    if (attr != 0 && mount_setattr(fd, "", AT_EMPTY_PATH | depth, &set, sizeof(set)) < 0)
        return err_sys(err, 0, errno, "restrict the mount of '%.150s'", path);
    return take_fd(&fd);
}

struct fs_option {
    const char *key, *value; /* value NULL: a flag */
};

/* A detached new file system. What the kernel says about a refusal is in its log, not in errno. */
static int new_tree(const char *type, const struct fs_option *options, size_t n, unsigned attr,
                    struct err *err)
{
    cleanup_fd int context = fsopen(type, FSOPEN_CLOEXEC);

    if (context < 0)
        return err_sys(err, 0, errno, "open the file system %s", type);
    for (size_t i = 0; i < n; i++) {
        unsigned command = options[i].value != NULL ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (fsconfig(context, command, options[i].key, options[i].value, 0) < 0)
            return err_sys(err, 0, errno, "%s: option %s", type, options[i].key);
    }
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return err_sys(err, 0, errno, "make a file system %s", type);
    int fd = fsmount(context, FSMOUNT_CLOEXEC, attr);
    return fd < 0 ? err_sys(err, 0, errno, "mount a file system %s", type) : fd;
}

static int new_tmpfs(const char *mode, const char *size, unsigned attr, struct err *err)
{
    const struct fs_option options[] = {{"mode", mode}, {"size", size}};

    return new_tree("tmpfs", options, ARRAY_LEN(options), attr, err);
}

static int attach(int tree, const char *path, struct err *err)
{
    if (move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(err, 0, errno, "mount at '%.150s'", path);
    return 0;
}

/* ---- overlays ---- */

/* Overlay marks files by trusted attributes where it may; in a user namespace by those of the user. */
static bool in_first_userns(void)
{
    char text[64], want[] = "0 0 4294967295";
    size_t at = 0;

    if (fd_slurp_at(AT_FDCWD, "/proc/self/uid_map", text, sizeof(text)) < 0)
        return false;
    for (const char *p = text; *p != '\0' && at < sizeof(want) - 1; p++) {
        if (*p == ' ' && (at == 0 || want[at - 1] == ' '))
            continue;
        if (*p != want[at++])
            return false;
    }
    return at == sizeof(want) - 1;
}

struct layers {
    int lower, upper, work, memory; /* memory: the file system that holds the last two, or -1 */
};

static void layers_done(struct layers *l)
{
    int *all[] = {&l->lower, &l->upper, &l->work, &l->memory};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (*all[i] >= 0)
            close(take_fd(all[i]));
    }
}

static int open_dir_at(int dir, const char *name)
{
    return openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The upper layer's top looks as the lower one's: it is what the session sees. */
static int copy_top(int lower, int upper)
{
    struct stat st;

    if (fstat(lower, &st) < 0 || fchownat(upper, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0)
        return -errno;
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", upper);
    return chmod(path, st.st_mode & 07777) < 0 ? -errno : 0;
}

static int open_layers(const struct isolate_mount *m, struct layers *l, struct err *err)
{
    cleanup_fd int home = -1;

    if ((l->lower = open_dir_at(AT_FDCWD, m->source)) < 0)
        return err_sys(err, 0, errno, "open '%.150s'", m->source);
    if (m->upper == NULL && (l->memory = new_tmpfs("0700", "50%", 0, err)) < 0)
        return l->memory;
    home = m->upper != NULL ? open_dir_at(AT_FDCWD, m->upper) : fd_dup_cloexec(l->memory);
    if (home < 0)
        return err_sys(err, 0, errno, "open '%.150s'", m->upper != NULL ? m->upper : "memory");
    bool made = mkdirat(home, "upper", 0700) == 0;
    if ((!made && errno != EEXIST) || (mkdirat(home, "work", 0700) < 0 && errno != EEXIST))
        return err_sys(err, 0, errno, "make the layers of '%.150s'", m->path);
    l->upper = open_dir_at(home, "upper");
    l->work = open_dir_at(home, "work");
    if (l->upper < 0 || l->work < 0)
        return err_sys(err, 0, errno, "open the layers of '%.150s'", m->path);
    int rc = made ? copy_top(l->lower, l->upper) : 0;
    return rc < 0 ? err_sys(err, 0, -rc, "make the upper layer of '%.150s'", m->path) : 0;
}

/* The layers are named by descriptors: no path needs escaping, none can be exchanged meanwhile. */
static int new_overlay(const struct isolate_mount *m, struct err *err)
{
    struct layers l = {-1, -1, -1, -1};
    char lower[32], upper[32], work[32];
    struct fs_option options[6] = {{"lowerdir", lower}, {"upperdir", upper}, {"workdir", work}};
    size_t n = 3;

    int rc = open_layers(m, &l, err);
    if (rc == 0) {
        snprintf(lower, sizeof(lower), "/proc/self/fd/%d", l.lower);
        snprintf(upper, sizeof(upper), "/proc/self/fd/%d", l.upper);
        snprintf(work, sizeof(work), "/proc/self/fd/%d", l.work);
        /* The plain format, which userxattr implies: what a commit reads is what lies there. */
        if (in_first_userns()) {
            options[n++] = (struct fs_option){"redirect_dir", "off"};
            options[n++] = (struct fs_option){"metacopy", "off"};
        } else {
            options[n++] = (struct fs_option){"userxattr", NULL};
        }
        rc = new_tree("overlay", options, n, SAFE, err);
        if (rc < 0)
            (void)err_wrap(err, "'%.100s'", m->path);
    }
    layers_done(&l);
    return rc;
}

/* ---- preparing ---- */

static int prepare_mount(const struct isolate_mount *m, struct err *err)
{
    if (strcmp(m->kind, "overlay") == 0)
        return new_overlay(m, err);
    return clone_tree(m->source, true, SAFE | (strcmp(m->kind, "ro") == 0 ? MOUNT_ATTR_RDONLY : 0),
                      err);
}

static void prepare_devices(struct view *v)
{
    char path[32];

    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        snprintf(path, sizeof(path), "/dev/%s", devices[i]);
        v->dev[i] = clone_tree(path, false, 0, NULL); /* one that is not there is not missed */
    }
}

int view_prepare(const struct isolate_plan *plan, struct view *v, struct err *err)
{
    const struct isolate_mount *mounts = plan->mounts.items;

    *v = (struct view){.tmp = -1, .proc = -1};
    for (size_t i = 0; i < ARRAY_LEN(v->dev); i++)
        v->dev[i] = -1;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_sys(err, 0, errno, "make the mounts private");
    if ((v->proc = clone_tree("/proc", false, 0, err)) < 0)
        return v->proc;
    if (!plan->strict && (v->tmp = clone_tree("/tmp", true, SAFE, err)) < 0)
        return v->tmp;
    for (; v->n_trees < plan->mounts.n; v->n_trees++) {
        int fd = prepare_mount(&mounts[v->n_trees], err);
        if (fd < 0)
            return fd;
        v->trees[v->n_trees] = fd;
    }
    prepare_devices(v);
    return 0;
}

void view_done(struct view *v)
{
    for (size_t i = 0; i < v->n_trees; i++)
        if (v->trees[i] >= 0)
            close(take_fd(&v->trees[i]));
    for (size_t i = 0; i < ARRAY_LEN(v->dev); i++)
        if (v->dev[i] >= 0)
            close(take_fd(&v->dev[i]));
    if (v->tmp >= 0)
        close(take_fd(&v->tmp));
    if (v->proc >= 0)
        close(take_fd(&v->proc));
}

/* ---- building ---- */

static int lock_root(struct err *err)
{
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};

    if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &readonly, sizeof(readonly)) < 0)
        return err_sys(err, 0, errno, "make '/' read-only");
    return 0;
}

/* A file for every device, to mount it on. */
static int fill_dev(struct view *v, struct err *err)
{
    char path[32];

    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        snprintf(path, sizeof(path), "/dev/%s", devices[i]);
        cleanup_fd int fd = v->dev[i] < 0 ? -1 : open(path, O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (v->dev[i] >= 0 && fd < 0)
            return err_sys(err, 0, errno, "make '%s'", path);
        int rc = fd >= 0 ? attach(v->dev[i], path, err) : 0;
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < ARRAY_LEN(device_links); i++) {
        snprintf(path, sizeof(path), "/dev/%s", device_links[i].name);
        if (symlink(device_links[i].target, path) < 0)
            return err_sys(err, 0, errno, "make '%s'", path);
    }
    return 0;
}

static int mount_new(int tree, const char *path, struct err *err)
{
    cleanup_fd int fd = tree;

    return fd < 0 ? fd : attach(fd, path, err);
}

static int build_dev(struct view *v, struct err *err)
{
    static const struct fs_option pts[] = {
        {"newinstance", NULL}, {"ptmxmode", "0666"}, {"mode", "0620"}};
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
    unsigned attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;

    int rc = mount_new(new_tmpfs("0755", "64k", attr, err), "/dev", err);
    if (rc == 0)
        rc = fill_dev(v, err);
    if (rc == 0 && (mkdir("/dev/pts", 0755) < 0 || mkdir("/dev/shm", 0755) < 0))
        rc = err_sys(err, 0, errno, "fill /dev");
    if (rc == 0)
        rc = mount_new(new_tree("devpts", pts, ARRAY_LEN(pts), attr, err), "/dev/pts", err);
    if (rc == 0)
        rc = mount_new(new_tmpfs("1777", "50%", SAFE, err), "/dev/shm", err);
    if (rc == 0 && mount_setattr(AT_FDCWD, "/dev", 0, &readonly, sizeof(readonly)) < 0)
        rc = err_sys(err, 0, errno, "make /dev read-only");
    return rc;
}

/* Read-only: sysctls have no other guard against root. Where the kernel refuses a new one, because parts of the
 * present one are masked, that one stays, read-only too. */
static void build_proc(struct view *v)
{
    static const char *const masked[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list",
                                         "/proc/kmsg"};
    cleanup_fd int tree =
        new_tree("proc", NULL, 0, SAFE | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, NULL);

    v->own_proc = tree >= 0 && attach(tree, "/proc", NULL) == 0;
    for (size_t i = 0; v->own_proc && i < ARRAY_LEN(masked); i++)
        (void)mount_new(clone_tree("/dev/null", false, MOUNT_ATTR_RDONLY, NULL), masked[i], NULL);
}

static int build_tmp(struct view *v, struct err *err)
{
    if (v->tmp >= 0)
        return attach(v->tmp, "/tmp", err);
    return mount_new(new_tmpfs("1777", "50%", SAFE, err), "/tmp", err);
}

/* Below a private /tmp, or in an overlay that hides it, a mount's place may be missing. */
static int make_place(const char *path)
{
    cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;

    if (root < 0)
        return -errno;
    return stat(path, &st) == 0 ? 0 : path_mkdirs_in_root(root, path + 1, 0755);
}

int view_build(const struct isolate_plan *plan, struct view *v, struct err *err)
{
    const struct isolate_mount *mounts = plan->mounts.items;

    int rc = lock_root(err);
    if (rc == 0)
        rc = build_dev(v, err);
    if (rc == 0)
        rc = build_tmp(v, err);
    for (size_t i = 0; rc == 0 && i < plan->mounts.n; i++) {
        rc = make_place(mounts[i].path);
        if (rc < 0)
            return err_sys(err, 0, -rc, "make a place for '%.150s'", mounts[i].path);
        rc = attach(v->trees[i], mounts[i].path, err);
    }
    if (rc == 0)
        build_proc(v);
    return rc;
}
