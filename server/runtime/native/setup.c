#include "server/runtime/native/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"

#define NAMESPACES                                                                                 \
    (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

static const char *const step_names[STEP_MAX] = {
    [STEP_WAIT] = "wait for the server",
    [STEP_CGROUP] = "join the control groups",
    [STEP_CREDENTIALS] = "become root of the user namespace",
    [STEP_KEYRING] = "open a session keyring",
    [STEP_PRIVATE] = "make mounts private",
    [STEP_ROOT] = "mount the root file system",
    [STEP_MOUNT] = "mount",
    [STEP_PIVOT] = "change the root",
    [STEP_HOSTNAME] = "set the host name",
    [STEP_LOOPBACK] = "bring the loopback up",
    [STEP_RLIMIT] = "set resource limits",
    [STEP_STDIO] = "set up standard streams",
    [STEP_DIRECTORY] = "change to the working directory",
    [STEP_FDS] = "close descriptors",
    [STEP_CAPABILITIES] = "drop capabilities",
    [STEP_SECCOMP] = "load the system-call filter",
    [STEP_EXEC] = "start execd",
};

const char *setup_step_name(int step)
{
    return step >= 0 && step < STEP_MAX ? step_names[step] : "set-up";
}

void setup_process_done(struct setup_process *p)
{
    int *fds[] = {&p->pidfd, &p->go_fd, &p->report_fd};

    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

static int write_map(pid_t pid, const char *which, const struct setup_maps *maps, struct err *err)
{
    char path[64], text[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, which);
    snprintf(text, sizeof(text), "0 %u %u\n", maps->uid_base, maps->uid_count);
    int rc = fd_spew_at(AT_FDCWD, path, text);
    return rc < 0 ? err_sys(err, 0, -rc, "write %s '%.40s'", which, text) : 0;
}

/* Signals stay blocked across the clone: a handler of the server must not run in the child, where it would write
 * into the server's own wake-up pipe. The child resets them before exec. */
static pid_t clone_blocked(struct clone_args *args)
{
    sigset_t all, old;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    pid_t pid = (pid_t)syscall(SYS_clone3, args, sizeof(*args));
    int errnum = errno;
    if (pid != 0)
        sigprocmask(SIG_SETMASK, &old, NULL);
    errno = errnum;
    return pid;
}

static pid_t clone_into(struct setup_process *p, const struct setup_maps *maps)
{
    struct clone_args args = {.flags = (uint64_t)NAMESPACES | CLONE_PIDFD,
                              .pidfd = (uint64_t)(uintptr_t)&p->pidfd,
                              .exit_signal = SIGCHLD};

    if (maps->cgroup2_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (unsigned)maps->cgroup2_fd;
    }
    return clone_blocked(&args);
}

static int clone_fault(int errnum, struct err *err)
{
    const char *hint =
        errnum == EPERM ? " (are user namespaces disabled by sysctl or by a container around us?)"
        : errnum == ENOSPC ? " (the limit of namespaces in /proc/sys/user is reached)"
                           : "";

    return err_set(err, ERR_SANDBOX_START_FAILED, errnum, "clone into new namespaces: %s%s",
                   strerror(errnum), hint);
}

/* A child that cannot go on is killed and reaped here; nobody else knows it yet. */
static void abandon(struct setup_process *p)
{
    (void)kill(p->pid, SIGKILL);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    setup_process_done(p);
}

int setup_clone(const struct plan *plan, const struct setup_maps *maps,
                struct setup_process *ret_process, struct err *err)
{
    struct setup_process p = {.pidfd = -1, .go_fd = -1, .report_fd = -1};
    int go[2] = {-1, -1}, report[2];

    if (fd_pipe(go) < 0 || fd_pipe(report) < 0) {
        int errnum = errno;
        if (go[0] >= 0) {
            close(go[0]);
            close(go[1]);
        }
        return err_sys(err, 0, errnum, "pipe");
    }
    p.pid = clone_into(&p, maps);
    int errnum = errno;
    if (p.pid == 0) {
        close(go[1]);
        setup_child(plan, go[0], report[1]);
    }
    close(go[0]);
    close(report[1]);
    p.go_fd = go[1];
    p.report_fd = report[0];
    if (p.pid < 0) {
        setup_process_done(&p);
        return clone_fault(errnum, err);
    }
    int rc = fd_set_nonblock(p.report_fd, true);
    if (rc == 0)
        rc = write_map(p.pid, "uid_map", maps, err);
    if (rc == 0)
        rc = write_map(p.pid, "gid_map", maps, err);
    if (rc < 0)
        abandon(&p);
    else
        *ret_process = p;
    return rc;
}

int setup_go(struct setup_process *p)
{
    int rc = fd_write_all(p->go_fd, "g", 1);

    close(p->go_fd);
    p->go_fd = -1;
    return rc;
}

int setup_result(const struct setup_process *p, struct err *err)
{
    struct setup_report report;
    ssize_t n = read(p->report_fd, &report, sizeof(report));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n == 0)
        return 1;
    if (n != (ssize_t)sizeof(report))
        return err_set(err, ERR_SANDBOX_START_FAILED, EIO, "the set-up process sent %zd odd bytes",
                       n);
    report.what[sizeof(report.what) - 1] = '\0';
    (void)err_set(err, ERR_SANDBOX_START_FAILED, report.errnum, "%s%s%s: %s",
                  setup_step_name(report.step), report.what[0] != '\0' ? " " : "", report.what,
                  strerror(report.errnum));
    return -report.errnum;
}
