#include "execd/harden/features.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "execd/harden/caps.h"
#include "execd/harden/landlock.h"
#include "execd/harden/profile.h"
#include "proto/base/fd.h"

#define STATUS_MAX 8192

/* Called with arguments that the kernel must refuse: a call that is missing or filtered says so before it looks. */
static bool is_there(long result)
{
    return result >= 0 || (errno != ENOSYS && errno != EPERM);
}

static bool has_pidfd(void)
{
    cleanup_fd int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    return fd >= 0;
}

static bool has_sock_diag(void)
{
    cleanup_fd int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    return fd >= 0;
}

static bool has_psi(void)
{
    char text[256];
    return fd_slurp_at(AT_FDCWD, "/proc/pressure/memory", text, sizeof(text)) > 0;
}

static bool has_pty(void)
{
    cleanup_fd int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    return fd >= 0 && unlockpt(fd) == 0;
}

/* prctl would do for mode 2 only by failing; the status file says it. */
static bool is_filtered(void)
{
    char text[STATUS_MAX];
    if (fd_slurp_at(AT_FDCWD, "/proc/self/status", text, sizeof(text)) < 0)
        return false;
    const char *line = strstr(text, "\nSeccomp:");
    return line != NULL && strtol(line + strlen("\nSeccomp:"), NULL, 10) == SECCOMP_MODE_FILTER;
}

void features_find(struct features *ret_features)
{
    struct utsname name;
    struct features f = {
        .clone3 = is_there(syscall(SYS_clone3, NULL, 0)),
        .pidfd = has_pidfd(),
        .close_range = is_there(syscall(SYS_close_range, 1, 0, 0)),
        .openat2 = is_there(syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0)),
        .sock_diag = has_sock_diag(),
        .psi = has_psi(),
        .pty = has_pty(),
        .landlock_abi = landlock_abi(),
        .seccomp = profile_is_supported(),
        .filtered = is_filtered(),
        .no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
        .caps_effective = caps_effective(),
        .caps_bounding = caps_bounding(),
    };
    if (uname(&name) == 0) {
        snprintf(f.release, sizeof(f.release), "%s", name.release);
        snprintf(f.machine, sizeof(f.machine), "%s", name.machine);
    }
    *ret_features = f;
}
