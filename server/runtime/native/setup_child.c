/* The child's side of setup.c: the plan, step by step. Raw system calls only; nothing here allocates or logs. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "server/runtime/native/caps.h"
#include "server/runtime/native/setup.h"
#include "server/runtime/native/setup_root.h"

#define INOTIFY_MAX "32" /* of the 128 that the kernel gives a user by itself */

static int report_to = -1;

noreturn_fn static void fail(int step, int errnum, const char *what)
{
    struct setup_report report = {.step = step, .errnum = errnum};

    if (what != NULL)
        memcpy(report.what, what, MIN(strlen(what), sizeof(report.what) - 1));
    (void)!write(report_to, &report,
                 sizeof(report)); /* nobody listens any more: we end all the same */
    _exit(1);
}

/* A step that went wrong ends the child. */
static void check(int step, int rc)
{
    if (rc < 0)
        fail(step, -rc, NULL);
}

static int sys(long rc)
{
    return rc < 0 ? -errno : 0;
}

/* The server may be gone already: then its end of the pipe is closed and no byte comes. PDEATHSIG is armed again
 * after each change of credentials, because the kernel forgets it there. */
static int wait_for_go(int fd)
{
    char byte;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    ssize_t n = read(fd, &byte, 1);
    return n == 1 ? 0 : n == 0 ? -EPIPE : -errno;
}

/* "0" means the writer. The server opened the files, so its rights count. A v1 `tasks` file moves just this thread
 * and spares everybody the lock over all forks that cgroup.procs takes. */
static int join_groups(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_joins; i++) {
        if (write(plan->joins[i], "0", 1) != 1)
            return -errno;
    }
    return sys(unshare(CLONE_NEWCGROUP));
}

static int become_root(void)
{
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return -errno;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    umask(022);
    return sys(setsid());
}

static int loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return -errno;
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : sys(close(fd));
}

/* What the kernel counts for all user namespaces of one creator together, the server's user: without a share of its own
 * one sandbox could leave none to the others, and to the host. Best effort: where /proc/sys is read-only (a container
 * around the server) or the kernel does not count, there is no share. */
static void set_shares(void)
{
    int fd = open("/proc/sys/user/max_inotify_instances", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)!write(fd, INOTIFY_MAX, strlen(INOTIFY_MAX));
    close(fd);
}

static int set_rlimits(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_rlimits; i++) {
        const struct plan_rlimit *row = &plan->rlimits[i];
        struct rlimit now;
        if (getrlimit((__rlimit_resource_t)row->resource, &now) < 0)
            return -errno;
        now.rlim_max = MIN(now.rlim_max, row->hard);
        now.rlim_cur = MIN(now.rlim_max, row->soft);
        if (setrlimit((__rlimit_resource_t)row->resource, &now) < 0)
            return -errno;
    }
    return 0;
}

static int set_stdio(const struct plan *plan)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(plan->log_fd, STDOUT_FILENO) < 0 ||
        dup2(plan->log_fd, STDERR_FILENO) < 0)
        return -errno;
    return 0;
}

/* A working directory outside the root would be a way out (CVE-2024-21626): its name must be reachable. */
static int enter_directory(const char *cwd)
{
    char here[4096];

    if (chdir(cwd) < 0)
        return -errno;
    long n = syscall(SYS_getcwd, here, sizeof(here));
    return n < 0 ? -errno : here[0] != '/' ? -EXDEV : 0;
}

static int keep_fds(const struct plan *plan)
{
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        return -errno;
    for (size_t i = 0; i < plan->n_keep; i++) {
        if (fcntl(plan->keep[i], F_SETFD, 0) < 0)
            return -errno;
    }
    return 0;
}

static int reset_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int signum = 1; signum < NSIG; signum++)
        (void)sigaction(signum, &action, NULL); /* KILL, STOP and libc's own refuse */
    sigemptyset(&none);
    return sys(sigprocmask(SIG_SETMASK, &none, NULL));
}

static int confine(const struct plan *plan)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return seccomp_load_filter(plan->seccomp);
}

/* From here on the sandbox lives without the server. */
static int become_execd(const struct plan *plan)
{
    if (prctl(PR_SET_PDEATHSIG, 0) < 0)
        return -errno;
    execve(plan->argv[0], (char *const *)(uintptr_t)plan->argv,
           (char *const *)(uintptr_t)plan->envp);
    return -errno;
}

void setup_child(const struct plan *plan, int go_fd, int report_fd)
{
    struct setup_root root;
    const char *what = NULL;

    report_to = report_fd;
    check(STEP_WAIT, wait_for_go(go_fd));
    check(STEP_CGROUP, join_groups(plan));
    check(STEP_CREDENTIALS, become_root());
    set_shares();
    check(STEP_KEYRING, sys(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL)));
    check(STEP_PRIVATE, sys(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)));
    int rc = root_mount(plan, &root, &what);
    if (rc < 0)
        fail(STEP_ROOT, -rc, what);
    rc = root_fill(plan, &root, &what);
    if (rc < 0)
        fail(STEP_MOUNT, -rc, what);
    check(STEP_PIVOT, root_enter(&root));
    check(STEP_HOSTNAME, sys(sethostname(plan->hostname, strlen(plan->hostname))));
    check(STEP_LOOPBACK, loopback_up());
    check(STEP_RLIMIT, set_rlimits(plan));
    check(STEP_STDIO, set_stdio(plan));
    check(STEP_DIRECTORY, enter_directory(plan->cwd));
    check(STEP_FDS, keep_fds(plan));
    check(STEP_CAPABILITIES, caps_apply(caps_mask() | (plan->isolation ? caps_grant() : 0)));
    check(STEP_EXEC, reset_signals());
    check(STEP_SECCOMP, confine(plan));
    fail(STEP_EXEC, -become_execd(plan), plan->argv[0]);
}
