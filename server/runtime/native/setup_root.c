#include "server/runtime/native/setup_root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/base/path.h"

/* The new root is attached over a directory that every Linux has and that nobody needs any more by then. */
#define STAGE "/sys"
#define OPTION_MAX 256

static int attach(int tree, const char *point)
{
    return move_mount(tree, "", AT_FDCWD, point, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int attach_at(int tree, int target)
{
    return move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
               ? -errno
               : 0;
}

/* "/proc/self/fd/<fd><rest>": how overlayfs is told of a directory that has no name here. */
static void fd_path(int fd, const char *rest, char *out)
{
    static const char prefix[] = "/proc/self/fd/";
    char digits[12];
    size_t n = sizeof(digits), len;

    do {
        digits[--n] = (char)('0' + fd % 10);
        fd /= 10;
    } while (fd > 0);
    memcpy(out, prefix, sizeof(prefix) - 1);
    out += sizeof(prefix) - 1;
    len = sizeof(digits) - n;
    memcpy(out, digits + n, len);
    memcpy(out + len, rest, strlen(rest) + 1);
}

static int set_string(int fs, const char *key, const char *value)
{
    return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

static int set_flag(int fs, const char *key)
{
    return fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0) < 0 ? -errno : 0;
}

/* volatile: nothing of a sandbox outlives it, so its layer is never synced (a sync would wait for the whole disk).
 * userxattr: whiteouts and opaque marks in a namespace of their own that the host never trusts (L26). */
static int overlay_options(int fs, const struct plan *plan, const char **ret_what)
{
    char lower[64], upper[64], work[64];
    struct {
        const char *key, *value;
    } options[] = {
        {"lowerdir", lower}, {"upperdir", upper}, {"workdir", work}, {"source", "overlay"}};
    int rc = 0;

    fd_path(plan->tree[TREE_LOWER], "", lower);
    fd_path(plan->tree[TREE_FS], "/upper", upper);
    fd_path(plan->tree[TREE_FS], "/work", work);
    for (size_t i = 0; i < ARRAY_LEN(options) && rc == 0; i++) {
        *ret_what = options[i].key;
        rc = set_string(fs, options[i].key, options[i].value);
    }
    static const char *const flags[] = {"userxattr", "volatile"};
    for (size_t i = 0; i < ARRAY_LEN(flags) && rc == 0; i++) {
        *ret_what = flags[i];
        rc = set_flag(fs, flags[i]);
    }
    return rc;
}

static int make_fs(int fs, uint64_t attr)
{
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    int mount = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attr);
    return mount < 0 ? -errno : mount;
}

int root_mount(const struct plan *plan, struct setup_root *ret_root, const char **ret_what)
{
    /* Kernels before 6.15 take layers only from mounts of this namespace: both are attached, one over the other. */
    *ret_what = "attach the image";
    int rc = attach(plan->tree[TREE_LOWER], STAGE);
    if (rc == 0)
        rc = attach(plan->tree[TREE_FS], STAGE);
    if (rc < 0)
        return rc;
    *ret_what = "overlay";
    int fs = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs < 0)
        return -errno;
    rc = overlay_options(fs, plan, ret_what);
    if (rc < 0)
        return rc;
    *ret_what = "overlay";
    int mount = make_fs(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    (void)close(fs);
    if (mount < 0)
        return mount;
    for (int i = 0; i < BASE_MAX; i++)
        ret_root->base[i] = -1;
    ret_root->base[BASE_ROOT] = mount;
    return attach(mount, STAGE);
}

/* --- rows --- */

/* Without following anything: the target itself must be what the plan says. */
static int open_target(int base, const char *target, int flags)
{
    struct open_how how = {.flags = (unsigned)(O_PATH | O_NOFOLLOW | O_CLOEXEC | flags),
                           .resolve =
                               RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, base, target, &how, sizeof(how));

    return fd < 0 ? -errno : (int)fd;
}

/* The directory above the target, through links of the image but never out of it; *ret_name = last component. */
static int open_parent(int base, const char *target, const char **ret_name)
{
    const char *slash = strrchr(target, '/');
    char dir[OPTION_MAX];

    *ret_name = slash != NULL ? slash + 1 : target;
    if (slash == NULL)
        return openat(base, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if ((size_t)(slash - target) >= sizeof(dir))
        return -ENAMETOOLONG;
    memcpy(dir, target, (size_t)(slash - target));
    dir[slash - target] = '\0';
    int rc = path_mkdirs_in_root(base, dir, 0755);
    return rc < 0 ? rc : path_open_in_root(base, dir, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

/* "mode=755,size=64k,newinstance": one fsconfig each. */
static int set_options(int fs, const char *options)
{
    char copy[OPTION_MAX], *next;

    if (options == NULL)
        return 0;
    if (strlen(options) >= sizeof(copy))
        return -ENAMETOOLONG;
    memcpy(copy, options, strlen(options) + 1);
    for (char *option = copy; option != NULL; option = next) {
        next = strchr(option, ',');
        if (next != NULL)
            *next++ = '\0';
        char *value = strchr(option, '=');
        if (value != NULL)
            *value++ = '\0';
        int rc = value != NULL ? set_string(fs, option, value) : set_flag(fs, option);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int new_fs(const char *type, const char *options, uint64_t attr)
{
    int fs = fsopen(type, FSOPEN_CLOEXEC);

    if (fs < 0)
        return -errno;
    int rc = set_options(fs, options);
    if (rc == 0)
        rc = set_string(fs, "source", type);
    if (rc == 0)
        rc = make_fs(fs, attr);
    (void)close(fs);
    return rc;
}

/* The mount point: a real directory of the image, or made. A link there is refused: it would hide the mount. */
static int mount_fs(struct setup_root *root, const struct mount_row *row)
{
    int base = root->base[row->base];

    if (mkdirat(base, row->target, 0755) < 0 && errno != EEXIST)
        return -errno;
    int point = open_target(base, row->target, O_DIRECTORY);
    if (point < 0)
        return point;
    int mount = new_fs(row->source, row->options, row->attr);
    int rc = mount < 0 ? mount : attach_at(mount, point);
    (void)close(point);
    if (rc == 0 && row->opens != BASE_ROOT)
        root->base[row->opens] = mount;
    else if (mount >= 0)
        (void)close(mount);
    return rc;
}

static int mount_tree(const struct plan *plan, const struct setup_root *root,
                      const struct mount_row *row)
{
    const char *name;
    int dir = open_parent(root->base[row->base], row->target, &name);

    if (dir < 0)
        return dir;
    /* Whatever the image has under this name goes, unless it is a directory, which is an error. */
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return -errno;
    int file = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file < 0)
        return -errno;
    (void)close(file);
    int rc =
        move_mount(plan->tree[row->tree], "", dir, name, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
    (void)close(dir);
    return rc;
}

static int make_text(const struct setup_root *root, const struct mount_row *row)
{
    const char *name;
    int dir = open_parent(root->base[row->base], row->target, &name);
    size_t len = strlen(row->source);

    if (dir < 0)
        return dir;
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return -errno;
    int file = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, row->mode);
    if (file < 0)
        return -errno;
    ssize_t n = write(file, row->source, len);
    int rc = n < 0 ? -errno : (size_t)n != len ? -ENOSPC : 0;
    (void)close(file);
    (void)close(dir);
    return rc;
}

static int make_dir(const struct setup_root *root, const struct mount_row *row)
{
    const char *name;
    int dir = open_parent(root->base[row->base], row->target, &name);
    int rc = 0;

    if (dir < 0)
        return dir;
    if (mkdirat(dir, name, row->mode & 0777) == 0)
        rc = (row->mode & 07000) != 0 ? fchmodat(dir, name, row->mode, 0)
                                      : 0; /* mkdir drops the sticky bit by umask */
    else if (errno != EEXIST)
        rc = -1;
    rc = rc < 0 ? -errno : 0;
    (void)close(dir);
    return rc;
}

/* The masking tree: our own /dev/null, or a fresh empty directory that nobody can write. */
static int mask_tree(const struct setup_root *root, bool is_dir)
{
    if (is_dir)
        return new_fs("tmpfs", "mode=755,size=4k,nr_inodes=1",
                      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    int tree = open_tree(root->base[BASE_DEV], "null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return tree < 0 ? -errno : tree;
}

static int rdonly_tree(int point)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    int tree =
        open_tree(point, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

    if (tree < 0)
        return -errno;
    if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return -errno;
    return tree;
}

static int cover(const struct setup_root *root, const struct mount_row *row)
{
    struct stat st;
    int point = open_target(root->base[row->base], row->target, 0);

    if (point == -ENOENT || point == -ENOTDIR)
        return 0;
    if (point < 0)
        return point;
    if (fstat(point, &st) < 0)
        return -errno;
    int tree =
        row->kind == MOUNT_RDONLY ? rdonly_tree(point) : mask_tree(root, S_ISDIR(st.st_mode));
    int rc = tree < 0 ? tree : attach_at(tree, point);
    if (tree >= 0)
        (void)close(tree);
    (void)close(point);
    return rc;
}

static int make_row(const struct plan *plan, struct setup_root *root, const struct mount_row *row)
{
    switch (row->kind) {
    case MOUNT_FS:
        return mount_fs(root, row);
    case MOUNT_TREE:
        return mount_tree(plan, root, row);
    case MOUNT_LINK:
        return symlinkat(row->source, root->base[row->base], row->target) < 0 ? -errno : 0;
    case MOUNT_DIR:
        return make_dir(root, row);
    case MOUNT_TEXT:
        return make_text(root, row);
    case MOUNT_MASK:
    case MOUNT_RDONLY:
        return cover(root, row);
    }
    return -EINVAL;
}

int root_fill(const struct plan *plan, struct setup_root *root, const char **ret_what)
{
    for (size_t i = 0; i < plan->n_mounts; i++) {
        *ret_what = plan->mounts[i].target;
        int rc = make_row(plan, root, &plan->mounts[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The old root ends up below the new one and is thrown away whole, with everything that was mounted in it. */
int root_enter(const struct setup_root *root)
{
    if (fchdir(root->base[BASE_ROOT]) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    return 0;
}
