#include "execd/harden/profile.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "execd/harden/program.h"
#include "proto/api/errors.h"

#define PARTS_MAX 4
#define CONDITIONS_MAX 2

/* The kernel looks at the low half of int arguments only: so must we where we refuse what is equal. Where we refuse what
 * is not, the high half may count: it only makes the rule stricter. */
#define LOW_IS(arg, value)                                                                         \
    {                                                                                              \
        arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, value                                                 \
    }
#define HAS(arg, flag)                                                                             \
    {                                                                                              \
        arg, SCMP_CMP_MASKED_EQ, flag, flag                                                        \
    }
#define IS_NOT(arg, value)                                                                         \
    {                                                                                              \
        arg, SCMP_CMP_NE, value, 0                                                                 \
    }

/* Refused in every form. */
static const char *const hardened_calls[] = {
    /* other processes */
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp",
    "perf_event_open",
    /* namespaces and mounts */
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount",
    "fspick", "move_mount", "open_tree", "mount_setattr", "open_by_handle_at", "name_to_handle_at",
    /* the kernel's own facilities */
    "bpf", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "add_key",
    "request_key", "keyctl", "init_module", "finit_module", "delete_module", "kexec_load",
    "kexec_file_load", "reboot", "swapon", "swapoff", "syslog", "acct", "quotactl", "quotactl_fd",
    "fanotify_init", "lookup_dcookie", "vhangup", "iopl", "ioperm", "modify_ldt", "uselib", "ustat",
    "sysfs", "_sysctl", "nfsservctl",
    /* the machine's clock and name, memory placement */
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname",
    "mbind", "set_mempolicy", "get_mempolicy", "migrate_pages", "move_pages", "personality"};

struct rule {
    const char *name;
    unsigned n;
    struct scmp_arg_cmp when[CONDITIONS_MAX];
};
static const struct rule hardened_rules[] = {
    {"clone", 1, {HAS(0, CLONE_NEWNS)}},
    {"clone", 1, {HAS(0, CLONE_NEWCGROUP)}},
    {"clone", 1, {HAS(0, CLONE_NEWUTS)}},
    {"clone", 1, {HAS(0, CLONE_NEWIPC)}},
    {"clone", 1, {HAS(0, CLONE_NEWUSER)}},
    {"clone", 1, {HAS(0, CLONE_NEWPID)}},
    {"clone", 1, {HAS(0, CLONE_NEWNET)}},
    {"ioctl", 1, {LOW_IS(1, TIOCSTI)}},
    {"ioctl", 1, {LOW_IS(1, TIOCLINUX)}},
    {"socket", 1, {LOW_IS(0, AF_PACKET)}},
    {"socket", 1, {LOW_IS(0, AF_ALG)}},
    {"socket", 1, {LOW_IS(0, AF_VSOCK)}},
    {"socket", 1, {LOW_IS(0, AF_TIPC)}},
    {"socket", 1, {LOW_IS(0, AF_KEY)}},
    {"socket", 1, {LOW_IS(0, AF_BLUETOOTH)}},
    {"socket", 1, {LOW_IS(0, 44)}},                       /* AF_XDP */
    {"socket", 2, {LOW_IS(0, AF_NETLINK), IS_NOT(2, 0)}}, /* but routes may be read */
};

/* io_uring opens sockets of its own, past any rule on socket(2); socketcall has its arguments behind a pointer. */
static const char *const no_network_calls[] = {"io_uring_setup", "socketcall"};
static const struct rule no_network_rules[] = {
    {"socket", 1, {IS_NOT(0, AF_UNIX)}},
    {"socketpair", 1, {IS_NOT(0, AF_UNIX)}},
};

/* Calls that libseccomp or this architecture does not know cannot be made under their name. */
static int refuse(scmp_filter_ctx ctx, const char *name, unsigned n,
                  const struct scmp_arg_cmp *when)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR)
        return 0;
    int rc = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(EPERM), number, n, when);
    return rc == -EEXIST || rc == -EDOM ? 0 : rc;
}

static int refuse_calls(scmp_filter_ctx ctx, const char *const *names, size_t n)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = refuse(ctx, names[i], 0, NULL);
    return rc;
}

static int refuse_rules(scmp_filter_ctx ctx, const struct rule *rules, size_t n)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = refuse(ctx, rules[i].name, rules[i].n, rules[i].when);
    return rc;
}

static int fill(scmp_filter_ctx ctx, unsigned parts)
{
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0 && (parts & PROFILE_HARDENED) != 0) {
        rc = refuse_calls(ctx, hardened_calls, ARRAY_LEN(hardened_calls));
        if (rc == 0)
            rc = refuse_rules(ctx, hardened_rules, ARRAY_LEN(hardened_rules));
        /* Its flags are behind a pointer: libc falls back to clone. */
        if (rc == 0)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    }
    if (rc == 0 && (parts & PROFILE_NO_NETWORK) != 0) {
        rc = refuse_calls(ctx, no_network_calls, ARRAY_LEN(no_network_calls));
        if (rc == 0)
            rc = refuse_rules(ctx, no_network_rules, ARRAY_LEN(no_network_rules));
    }
    return rc;
}

bool profile_is_supported(void)
{
    const uint32_t action = SECCOMP_RET_KILL_PROCESS;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int profile_get(unsigned parts, const struct sock_fprog **ret_program, struct err *err)
{
    static struct sock_fprog programs[PARTS_MAX];

    if (parts == 0) {
        *ret_program = NULL;
        return 0;
    }
    if (!profile_is_supported())
        return err_set(err, ERR_POLICY_UNSUPPORTED, EOPNOTSUPP,
                       "policy: this kernel loads no system call filters");
    if (programs[parts].filter == NULL) {
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
        int rc = ctx != NULL ? fill(ctx, parts) : -ENOMEM;
        if (rc == 0)
            rc = program_export(ctx, &programs[parts]);
        if (ctx != NULL)
            seccomp_release(ctx);
        if (rc < 0)
            return err_sys(err, ERR_RUNTIME_ERROR, -rc, "policy: compile the system call filter");
    }
    *ret_program = &programs[parts];
    return 0;
}
