/*
 * What every sandbox sees of file systems, in the order in which it is made.
 * Source: hardening.md 4.7, L02, L03, L04, L05; the Linux default device list of the OCI runtime specification.
 */
#include <sys/mount.h>

#include "server/runtime/native/plan.h"

#define SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define DATA (SAFE | MOUNT_ATTR_NOEXEC)

#define DEVICE(name, tree_)                                                                        \
    {                                                                                              \
        .kind = MOUNT_TREE, .base = BASE_DEV, .target = (name), .tree = (tree_)                    \
    }
#define LINK(name, text)                                                                           \
    {                                                                                              \
        .kind = MOUNT_LINK, .base = BASE_DEV, .target = (name), .source = (text)                   \
    }
#define MASK(base_, name)                                                                          \
    {                                                                                              \
        .kind = MOUNT_MASK, .base = (base_), .target = (name)                                      \
    }
#define RDONLY(name)                                                                               \
    {                                                                                              \
        .kind = MOUNT_RDONLY, .base = BASE_PROC, .target = (name)                                  \
    }

// clang-format off
const struct mount_row mounts_table[] = {
    /* hidepid: execd is not dumpable, so PID 1 is invisible to everybody inside (hardening M9). */
    {.kind = MOUNT_FS, .target = "proc", .source = "proc", .options = "hidepid=ptraceable", .attr = DATA, .opens = BASE_PROC},

    /* Device nodes are the host's own, by descriptors that were checked: nothing of the image's /dev is used. */
    {.kind = MOUNT_FS, .target = "dev", .source = "tmpfs", .options = "mode=755,size=64k,nr_inodes=256",
     .attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, .opens = BASE_DEV},
    DEVICE("null", TREE_NULL),
    DEVICE("zero", TREE_ZERO),
    DEVICE("full", TREE_FULL),
    DEVICE("random", TREE_RANDOM),
    DEVICE("urandom", TREE_URANDOM),
    DEVICE("tty", TREE_TTY),
    LINK("fd", "/proc/self/fd"),
    LINK("stdin", "/proc/self/fd/0"),
    LINK("stdout", "/proc/self/fd/1"),
    LINK("stderr", "/proc/self/fd/2"),
    LINK("ptmx", "pts/ptmx"),
    {.kind = MOUNT_FS, .base = BASE_DEV, .target = "pts", .source = "devpts",
     .options = "newinstance,ptmxmode=0666,mode=0620,gid=5,max=128", .attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC},
    {.kind = MOUNT_FS, .base = BASE_DEV, .target = "shm", .source = "tmpfs", .options = "mode=1777,size=@tmp", .attr = DATA},
    {.kind = MOUNT_FS, .base = BASE_DEV, .target = "mqueue", .source = "mqueue", .attr = DATA},

    {.kind = MOUNT_FS, .target = "sys", .source = "sysfs", .attr = DATA | MOUNT_ATTR_RDONLY, .opens = BASE_SYS},
    {.kind = MOUNT_FS, .target = "run", .source = "tmpfs", .options = "mode=755,size=@tmp", .attr = SAFE},
    {.kind = MOUNT_DIR, .target = "run/lock", .mode = 01777},
    {.kind = MOUNT_DIR, .target = "tmp", .mode = 01777},

    MASK(BASE_PROC, "acpi"),
    MASK(BASE_PROC, "asound"),
    MASK(BASE_PROC, "interrupts"),
    MASK(BASE_PROC, "kcore"),
    MASK(BASE_PROC, "keys"),
    MASK(BASE_PROC, "key-users"),
    MASK(BASE_PROC, "kallsyms"),
    MASK(BASE_PROC, "kmsg"),
    MASK(BASE_PROC, "kpagecount"),
    MASK(BASE_PROC, "kpageflags"),
    MASK(BASE_PROC, "kpagecgroup"),
    MASK(BASE_PROC, "latency_stats"),
    MASK(BASE_PROC, "sched_debug"),
    MASK(BASE_PROC, "scsi"),
    MASK(BASE_PROC, "softirqs"),
    MASK(BASE_PROC, "timer_list"),
    MASK(BASE_PROC, "timer_stats"),
    MASK(BASE_PROC, "vmallocinfo"),
    RDONLY("bus"),
    RDONLY("driver"),
    RDONLY("fs"),
    RDONLY("irq"),
    RDONLY("sys"),
    RDONLY("sysrq-trigger"),
    RDONLY("pressure"),
    MASK(BASE_SYS, "firmware"),
    MASK(BASE_SYS, "devices/virtual/powercap"),
    MASK(BASE_SYS, "fs/bpf"),
    MASK(BASE_SYS, "fs/selinux"),
    MASK(BASE_SYS, "kernel/debug"),
    MASK(BASE_SYS, "kernel/security"),
    MASK(BASE_SYS, "kernel/tracing"),
    MASK(BASE_SYS, "kernel/vmcoreinfo"),
    MASK(BASE_SYS, "kernel/notes"),

    {.kind = MOUNT_TREE, .target = "opt/opensandbox/execd", .tree = TREE_EXECD},
};
// clang-format on
const size_t mounts_n = ARRAY_LEN(mounts_table);
