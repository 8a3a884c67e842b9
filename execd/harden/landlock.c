#include "execd/harden/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "execd/harden/policy.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"

/* The same on every architecture since the calls were added. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#endif

#define CREATE_VERSION (1U << 0)
enum { RULE_PATH = 1, RULE_PORT = 2 };

#define FS_EXECUTE (1ULL << 0)
#define FS_WRITE_FILE (1ULL << 1)
#define FS_READ_FILE (1ULL << 2)
#define FS_READ_DIR (1ULL << 3)
#define FS_REFER (1ULL << 13)     /* since ABI 2 */
#define FS_TRUNCATE (1ULL << 14)  /* since ABI 3 */
#define FS_IOCTL_DEV (1ULL << 15) /* since ABI 5 */
#define FS_OF_ABI_1 ((1ULL << 13) - 1)

#define FS_ALL (FS_OF_ABI_1 | FS_REFER | FS_TRUNCATE | FS_IOCTL_DEV)
#define FS_READ (FS_READ_FILE | FS_READ_DIR)
/* The only rights that a rule on something else than a directory may name. */
#define FS_OF_FILES (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

#define NET_BIND (1ULL << 0)
#define NET_CONNECT (1ULL << 1)

struct
    ruleset_attr { /* struct landlock_ruleset_attr of ABI 6; older kernels accept it while the tail is zero */
    uint64_t handled_fs, handled_net, scoped;
};
struct path_rule {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));
struct port_rule {
    uint64_t allowed, port;
};

int landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    return abi > 0 ? (int)abi : 0;
}

static uint64_t known_fs_rights(int abi)
{
    uint64_t rights = FS_ALL;
    if (abi < 2)
        rights &= ~FS_REFER;
    if (abi < 3)
        rights &= ~FS_TRUNCATE;
    if (abi < 5)
        rights &= ~FS_IOCTL_DEV;
    return rights;
}

static int add_path(int ruleset, const char *list, const char *path, uint64_t rights,
                    struct err *err)
{
    struct stat st;
    cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, ERR_INVALID_REQUEST_BODY, errno, "policy.landlock.%s: '%.150s'", list,
                       path);
    struct path_rule rule = {
        .allowed = S_ISDIR(st.st_mode) ? rights : rights & FS_OF_FILES,
        .parent_fd = fd,
    };
    if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH, &rule, 0) < 0)
        return err_sys(err, ERR_INVALID_REQUEST_BODY, errno,
                       "policy.landlock.%s: '%.150s' cannot be named", list, path);
    return 0;
}

static int add_paths(int ruleset, const char *list, const struct jstrings *paths, uint64_t rights,
                     struct err *err)
{
    for (size_t i = 0; i < paths->n; i++) {
        int rc = add_path(ruleset, list, paths->items[i], rights, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int add_ports(int ruleset, const struct policy_ports *ports, uint64_t right, struct err *err)
{
    for (size_t i = 0; i < ports->n; i++) {
        struct port_rule rule = {.allowed = right, .port = ports->port[i]};
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_PORT, &rule, 0) < 0)
            return err_sys(err, ERR_RUNTIME_ERROR, errno, "policy.landlock: port %u",
                           ports->port[i]);
    }
    return 0;
}

static int check_abi(const struct policy_landlock *wanted, int abi, struct err *err)
{
    int needed = wanted->scopes != 0                                   ? LANDLOCK_ABI_SCOPE
                 : wanted->tcp_bind.given || wanted->tcp_connect.given ? LANDLOCK_ABI_NET
                                                                       : 1;
    if (abi >= needed)
        return 0;
    return abi == 0 ? err_set(err, ERR_POLICY_UNSUPPORTED, EOPNOTSUPP,
                              "policy.landlock: this kernel has no Landlock")
                    : err_set(err, ERR_POLICY_UNSUPPORTED, EOPNOTSUPP,
                              "policy.landlock: this kernel has Landlock ABI %d, %s need %d", abi,
                              needed == LANDLOCK_ABI_SCOPE ? "scopes" : "TCP rules", needed);
}

int landlock_ruleset(const struct policy_landlock *wanted, int *ret_fd, struct err *err)
{
    struct ruleset_attr attr = {.scoped = wanted->scopes};
    int abi = landlock_abi();
    int rc = check_abi(wanted, abi, err);
    if (rc < 0)
        return rc;
    uint64_t known = known_fs_rights(abi);
    if (wanted->has_ro || wanted->has_rw || wanted->has_exec)
        attr.handled_fs = known;
    attr.handled_net =
        (wanted->tcp_bind.given ? NET_BIND : 0) | (wanted->tcp_connect.given ? NET_CONNECT : 0);
    if (attr.handled_fs == 0 && attr.handled_net == 0 && attr.scoped == 0)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "policy.landlock: nothing in it; leave it out");
    cleanup_fd int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (fd < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, errno, "policy.landlock: make a ruleset");
    rc = add_paths(fd, "ro", &wanted->ro, FS_READ, err);
    if (rc == 0)
        rc = add_paths(fd, "rw", &wanted->rw, known & ~FS_EXECUTE, err);
    if (rc == 0)
        rc = add_paths(fd, "exec", &wanted->exec, FS_READ | FS_EXECUTE, err);
    if (rc == 0)
        rc = add_ports(fd, &wanted->tcp_bind, NET_BIND, err);
    if (rc == 0)
        rc = add_ports(fd, &wanted->tcp_connect, NET_CONNECT, err);
    if (rc == 0)
        *ret_fd = take_fd(&fd);
    return rc;
}
