#include "execd/harden/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "execd/harden/program.h"
#include "proto/base/mem.h"

/* Work on files whoever owns them, and becoming somebody else: what installing a package takes. */
static const unsigned kept[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID,
                                CAP_KILL,  CAP_SETGID,       CAP_SETUID, CAP_NET_BIND_SERVICE};

static uint64_t kept_mask(void)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        mask |= UINT64_C(1) << kept[i];
    return mask;
}

int confine_privileges(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    uint64_t mask = kept_mask();

    for (unsigned cap = 0; cap < 64; cap++) {
        if ((mask >> cap & 1) == 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return err_sys(err, 0, errno, "drop capability %u", cap);
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* unknown before Linux 4.3 */
    if (syscall(SYS_capget, &head, data) < 0)
        return err_sys(err, 0, errno, "read the capabilities");
    for (int i = 0; i < 2; i++) {
        data[i].permitted &= (uint32_t)(mask >> 32 * i);
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    if (syscall(SYS_capset, &head, data) < 0)
        return err_sys(err, 0, errno, "drop the capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, 0, errno, "set no_new_privs");
    return 0;
}

/* ---- system calls ---- */

/* Other namespaces and mounts. */
static const char *const granted[] = {
    "mount",      "umount", "umount2", "pivot_root", "setns",  "unshare",       "open_tree",
    "move_mount", "fsopen", "fsmount", "fsconfig",   "fspick", "mount_setattr",
};

static const char *const denied[] = {
    "chroot",
    "open_tree_attr",
    /* files by handle go around mounts */
    "open_by_handle_at",
    "name_to_handle_at",
    /* the kernel itself */
    "bpf",
    "perf_event_open",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "quotactl_fd",
    "syslog",
    "iopl",
    "ioperm",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "vhangup",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "fanotify_init",
    /* keys are not bound to a namespace */
    "add_key",
    "request_key",
    "keyctl",
};

static const uint64_t namespace_flags[] = {CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
                                           CLONE_NEWIPC, CLONE_NEWUSER,   CLONE_NEWPID,
                                           CLONE_NEWNET};

static int add_denied(scmp_filter_ctx ctx, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number == __NR_SCMP_ERROR)
            continue; /* newer than the library; what it makes cannot be attached without move_mount */
        int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), number, 0);
        if (rc < 0 && rc != -EDOM)
            return rc;
    }
    return 0;
}

/* clone3 hides its flags behind a pointer: without it libc takes clone, whose flags can be looked at. */
static int add_looked_at(scmp_filter_ctx ctx)
{
    int rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(namespace_flags); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                              SCMP_A0(SCMP_CMP_MASKED_EQ, namespace_flags[i], namespace_flags[i]));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCSTI));
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                              SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCLINUX));
    return rc;
}

static int export_filter(scmp_filter_ctx ctx, struct sock_fprog **ret_filter)
{
    struct sock_fprog *filter = xnew(struct sock_fprog);
    int rc = program_export(ctx, filter);
    if (rc < 0)
        confine_filter_free(filter);
    else
        *ret_filter = filter;
    return rc;
}

int confine_filter(enum confine_kind kind, struct sock_fprog **ret_filter, struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

    if (ctx == NULL)
        return err_set(err, 0, ENOMEM, "make a system call filter");
    /* Programs of other architectures reach the same calls by other numbers. */
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    if (rc == 0)
        rc = add_denied(ctx, granted, ARRAY_LEN(granted));
    if (rc == 0 && kind == CONFINE_SESSION)
        rc = add_denied(ctx, denied, ARRAY_LEN(denied));
    if (rc == 0)
        rc = add_looked_at(ctx);
    if (rc == 0)
        rc = export_filter(ctx, ret_filter);
    seccomp_release(ctx);
    return rc < 0 ? err_sys(err, 0, -rc, "make a system call filter") : 0;
}

void confine_filter_free(struct sock_fprog *filter)
{
    if (filter == NULL)
        return;
    free(filter->filter);
    free(filter);
}

int confine_load(const struct sock_fprog *filter, struct err *err)
{
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) < 0)
        return err_sys(err, 0, errno, "load the system call filter");
    return 0;
}

/* ---- Landlock ---- */

/* linux/landlock.h of ABI 6; older kernel headers end before `scoped`. */
struct landlock_attr {
    uint64_t fs, net, scoped;
};
#define LANDLOCK_VERSION_FLAG 1U
#define LANDLOCK_SCOPES 3U /* abstract unix sockets, signals */
#define LANDLOCK_ABI_WITH_SCOPES 6

int confine_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);

    return abi > 0 ? (int)abi : 0;
}

int confine_scope(struct err *err)
{
    struct landlock_attr attr = {.scoped = LANDLOCK_SCOPES};

    if (confine_landlock_abi() < LANDLOCK_ABI_WITH_SCOPES)
        return 0;
    cleanup_fd int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        return err_sys(err, 0, errno, "restrict by landlock");
    return 1;
}
