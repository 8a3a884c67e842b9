#include "server/runtime/native/seccomp_rules.h"

#include <linux/sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* Docker's list of 2026 without: tracing and reading other processes, handles by name. clone3 is in no list on
 * purpose: its flags are behind a pointer that a filter cannot read; ENOSYS makes libc fall back to clone. */
// clang-format off
const char *const seccomp_allowed[] = {
    "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "bind", "brk",
    "cachestat", "capget", "capset", "chdir", "chmod", "chown", "chroot", "clock_adjtime",
    "clock_getres", "clock_gettime", "clock_nanosleep", "close", "close_range", "connect",
    "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
    "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "execve",
    "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate",
    "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl",
    "fdatasync", "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr",
    "fstat", "fstatfs", "fsync", "ftruncate", "futex", "futex_requeue", "futex_wait",
    "futex_waitv", "futex_wake", "futimesat", "get_robust_list", "get_thread_area", "getcpu",
    "getcwd", "getdents", "getdents64", "getegid", "geteuid", "getgid", "getgroups",
    "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
    "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "getsockname",
    "getsockopt", "gettid", "gettimeofday", "getuid", "getxattr", "getxattrat",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel",
    "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit", "ioprio_get",
    "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
    "lgetxattr", "link", "linkat", "listen", "listmount", "listxattr", "listxattrat",
    "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "madvise", "map_shadow_stack",
    "membarrier", "memfd_create", "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod",
    "mknodat", "mlock", "mlock2", "mlockall", "mmap", "modify_ldt", "mprotect", "mq_getsetattr",
    "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "mremap", "mseal",
    "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap",
    "nanosleep", "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open",
    "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll",
    "ppoll", "prctl", "pread64", "preadv", "preadv2", "process_mrelease", "pselect6",
    "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv",
    "recvfrom", "recvmmsg", "recvmsg", "remap_file_pages", "removexattr", "removexattrat",
    "rename", "renameat", "renameat2", "restart_syscall", "rmdir", "rseq", "rt_sigaction",
    "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
    "sched_rr_get_interval", "sched_yield", "seccomp", "select", "semctl", "semget", "semop",
    "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto", "set_robust_list",
    "set_thread_area", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups",
    "setitimer", "setpgid", "setregid", "setresgid", "setresuid", "setreuid", "setrlimit",
    "setsid", "setsockopt", "setuid", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt",
    "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4", "splice", "stat", "statfs",
    "statmount", "statx", "symlink", "symlinkat", "sync", "sync_file_range", "syncfs",
    "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete", "timer_getoverrun",
    "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime",
    "times", "tkill", "truncate", "umask", "uname", "unlink", "unlinkat", "utime", "utimensat",
    "utimes", "vfork", "vmsplice", "wait4", "waitid", "write", "writev",
    /* Arguments are looked at below. */
    "clone", "ioctl", "ioprio_set", "prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam",
    "sched_setscheduler", "setpriority", "socket", "socketpair",
};
// clang-format on
const size_t seccomp_n_allowed = ARRAY_LEN(seccomp_allowed);

// clang-format off
const char *const seccomp_denied[] = {
    "_sysctl", "acct", "add_key", "afs_syscall", "bpf", "clock_settime", "create_module",
    "delete_module", "epoll_ctl_old", "epoll_wait_old", "fanotify_init", "file_getattr",
    "file_setattr", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick",
    "get_kernel_syms", "get_mempolicy", "getpmsg", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load",
    "kexec_load", "keyctl", "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules",
    "lsm_set_self_attr", "mbind", "migrate_pages", "mount", "mount_setattr", "move_mount",
    "move_pages", "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree",
    "open_tree_attr", "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise",
    "process_vm_readv", "process_vm_writev", "ptrace", "putpmsg", "query_module", "quotactl",
    "quotactl_fd", "reboot", "request_key", "security", "set_mempolicy",
    "set_mempolicy_home_node", "setdomainname", "sethostname", "setns", "settimeofday",
    "swapoff", "swapon", "sysfs", "syslog", "tuxcall", "umount2", "unshare", "uselib",
    "userfaultfd", "ustat", "vhangup", "vserver",
};
// clang-format on
const size_t seccomp_n_denied = ARRAY_LEN(seccomp_denied);

const char *const seccomp_granted[] = {
    "fsconfig",   "fsmount",   "fsopen", "mount",   "mount_setattr",
    "move_mount", "open_tree", "setns",  "umount2", "unshare",
};
const size_t seccomp_n_granted = ARRAY_LEN(seccomp_granted);

/* The kernel reads these arguments as 32 bits: the upper half must not make them look different. */
#define LOW UINT64_C(0xffffffff)
#define LOW_IS(arg_, value)                                                                        \
    {                                                                                              \
        .arg = (arg_), .op = SCMP_CMP_MASKED_EQ, .a = LOW, .b = (uint64_t)(value)                  \
    }
#define IS(arg_, value)                                                                            \
    {                                                                                              \
        .arg = (arg_), .op = SCMP_CMP_EQ, .a = (uint64_t)(value)                                   \
    }
#define IS_NOT(arg_, value)                                                                        \
    {                                                                                              \
        .arg = (arg_), .op = SCMP_CMP_NE, .a = (uint64_t)(value)                                   \
    }
#define ABOVE(arg_, value)                                                                         \
    {                                                                                              \
        .arg = (arg_), .op = SCMP_CMP_GT, .a = (uint64_t)(value)                                   \
    }
#define HAS_FLAG(arg_, flag)                                                                       \
    {                                                                                              \
        .arg = (arg_), .op = SCMP_CMP_MASKED_EQ, .a = (uint64_t)(flag), .b = (uint64_t)(flag)      \
    }

#define DENY(call, ...)                                                                            \
    {                                                                                              \
        .name = call, .deny = true, .cmp = { __VA_ARGS__ }                                         \
    }
#define NAMESPACE(flag)                                                                            \
    {                                                                                              \
        .name = "clone", .deny = true, .unless_granted = true, .cmp = { HAS_FLAG(0, flag) }        \
    }
#define ALLOW(call, ...)                                                                           \
    {                                                                                              \
        .name = call, .cmp = { __VA_ARGS__ }                                                       \
    }
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_WHO_PGRP 2
#define IOPRIO_WHO_USER 3

// clang-format off
const struct seccomp_rule seccomp_rules[] = {
    /* New namespaces. */
    NAMESPACE(CLONE_NEWNS),
    NAMESPACE(CLONE_NEWCGROUP),
    NAMESPACE(CLONE_NEWUTS),
    NAMESPACE(CLONE_NEWIPC),
    NAMESPACE(CLONE_NEWUSER),
    NAMESPACE(CLONE_NEWPID),
    NAMESPACE(CLONE_NEWNET),

    /* Families: unix, inet, inet6, and route netlink. A list of what is allowed, so that nothing new slips in:
     * above 16 is everything that is not named here, upper bits included. */
    DENY("socket", ABOVE(0, AF_NETLINK)),
    DENY("socket", IS(0, AF_UNSPEC)),
    DENY("socket", IS(0, AF_AX25)),
    DENY("socket", IS(0, AF_IPX)),
    DENY("socket", IS(0, AF_APPLETALK)),
    DENY("socket", IS(0, AF_NETROM)),
    DENY("socket", IS(0, AF_BRIDGE)),
    DENY("socket", IS(0, AF_ATMPVC)),
    DENY("socket", IS(0, AF_X25)),
    DENY("socket", IS(0, AF_ROSE)),
    DENY("socket", IS(0, 12)), /* AF_DECnet */
    DENY("socket", IS(0, AF_NETBEUI)),
    DENY("socket", IS(0, AF_SECURITY)),
    DENY("socket", IS(0, AF_KEY)),
    DENY("socket", IS(0, AF_NETLINK), IS_NOT(2, 0)), /* NETLINK_ROUTE is 0 */
    DENY("socketpair", IS_NOT(0, AF_UNIX)),

    /* Typing into somebody's terminal. */
    DENY("ioctl", LOW_IS(1, TIOCSTI)),
    DENY("ioctl", LOW_IS(1, TIOCLINUX)),

    /* Limits and priority of PID 1, which the kernel would let the same user change. */
    DENY("prlimit64", IS_NOT(0, 0), IS_NOT(2, 0)),
    DENY("sched_setscheduler", LOW_IS(0, 1)),
    DENY("sched_setparam", LOW_IS(0, 1)),
    DENY("sched_setattr", LOW_IS(0, 1)),
    DENY("sched_setaffinity", LOW_IS(0, 1)),
    DENY("setpriority", LOW_IS(0, PRIO_USER)),
    DENY("setpriority", LOW_IS(0, PRIO_PROCESS), LOW_IS(1, 1)),
    DENY("setpriority", LOW_IS(0, PRIO_PGRP), LOW_IS(1, 1)),
    DENY("ioprio_set", LOW_IS(0, IOPRIO_WHO_USER)),
    DENY("ioprio_set", LOW_IS(0, IOPRIO_WHO_PROCESS), LOW_IS(1, 1)),
    DENY("ioprio_set", LOW_IS(0, IOPRIO_WHO_PGRP), LOW_IS(1, 1)),

    /* The harmless personalities: Linux, 32-bit uname, no randomisation with either, and "tell me". */
    ALLOW("personality", IS(0, 0)),
    ALLOW("personality", IS(0, 0x8)),
    ALLOW("personality", IS(0, 0x20000)),
    ALLOW("personality", IS(0, 0x20008)),
    ALLOW("personality", IS(0, 0xffffffff)),
};
// clang-format on
const size_t seccomp_n_rules = ARRAY_LEN(seccomp_rules);
