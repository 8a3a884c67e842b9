#include "execd/proc/probe.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "execd/proc/pidref.h"
#include "execd/proc/reaper.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"

/* Two existing folders, read-only: no upper folder, nothing to clean up. */
#define OVERLAY_OPTIONS "lowerdir=/usr:/etc"

enum { FOUND_USER = 1, FOUND_MOUNT = 2, FOUND_PID = 4, FOUND_NET = 8, FOUND_OVERLAY = 16 };

/* In the new process: raw calls only, as in child.c. */
static noreturn_fn void look(int report_fd)
{
    unsigned char found = 0;
    if (syscall(SYS_unshare, CLONE_NEWUSER) == 0)
        found |= FOUND_USER;
    if (syscall(SYS_unshare, CLONE_NEWPID) == 0)
        found |= FOUND_PID;
    if (syscall(SYS_unshare, CLONE_NEWNET) == 0)
        found |= FOUND_NET;
    if (syscall(SYS_unshare, CLONE_NEWNS) == 0) {
        found |= FOUND_MOUNT;
        /* Never let the mount out: private first. */
        if (syscall(SYS_mount, "none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            syscall(SYS_mount, "overlay", "/tmp", "overlay", MS_RDONLY, OVERLAY_OPTIONS) == 0)
            found |= FOUND_OVERLAY;
    }
    (void)syscall(SYS_write, report_fd, &found, 1);
    for (;;)
        syscall(SYS_exit_group, 0);
}

static int await(int fd, unsigned char *ret_found)
{
    int64_t deadline = clock_monotonic_ms() + PROBE_DEADLINE_MS;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - clock_monotonic_ms();
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n == 0)
            return -ETIMEDOUT;
        if (n > 0)
            return read(fd, ret_found, 1) == 1 ? 0 : -EPIPE;
        if (errno != EINTR)
            return -errno;
    }
}

int probe_namespaces(struct probe *ret_probe, struct err *err)
{
    static bool is_known;
    static struct probe known;
    int ends[2], pidfd = -1;
    unsigned char found = 0;

    if (is_known) {
        *ret_probe = known;
        return 0;
    }
    int rc = fd_pipe(ends);
    if (rc < 0)
        return err_sys(err, 0, -rc, "make a pipe for the probe");
    cleanup_fd int read_end = ends[0];
    cleanup_fd int write_end = ends[1];
    long pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, NULL);
    if (pid < 0)
        return err_sys(err, 0, errno, "make a process for the probe");
    if (pid == 0)
        look(write_end);
    struct pidref child = {.pid = (pid_t)pid, .fd = pidfd};
    reaper_expect(child.pid);
    close(take_fd(&write_end));
    rc = await(read_end, &found);
    /* It is ending by itself, or it is stuck; the reaper has nobody to tell either way. */
    (void)!pidref_signal(&child, SIGKILL);
    reaper_forget(child.pid);
    pidref_done(&child);
    if (rc < 0)
        return err_sys(err, 0, -rc, "probe the namespaces");
    known = (struct probe){
        .user_namespace = (found & FOUND_USER) != 0,
        .mount_namespace = (found & FOUND_MOUNT) != 0,
        .pid_namespace = (found & FOUND_PID) != 0,
        .network_namespace = (found & FOUND_NET) != 0,
        .overlay = (found & FOUND_OVERLAY) != 0,
    };
    is_known = true;
    *ret_probe = known;
    return 0;
}
