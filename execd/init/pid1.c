#include "execd/init/pid1.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "execd/harden/crash.h"
#include "execd/init/handover.h"
#include "execd/proc/environment.h"
#include "execd/proc/spawn.h"
#include "proto/base/fd.h"

/* Descriptors that we may open at most, however much the hard limit allows: the kernel's table grows with it. */
#define NOFILE_MAX 65536

static bool terminal_is_free;

bool pid1_is_init(void)
{
    return getpid() == 1;
}

int pid1_shield(struct err *err)
{
    struct rlimit core;
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return err_sys(err, 0, errno, "make the process not dumpable");
    /* The hard limit stays: commands may raise theirs. */
    if (getrlimit(RLIMIT_CORE, &core) == 0) {
        core.rlim_cur = 0;
        (void)setrlimit(RLIMIT_CORE, &core); /* lowering cannot fail */
    }
    int result = fd_fix_stdio();
    return result < 0 ? err_sys(err, 0, -result, "open /dev/null for closed standard descriptors")
                      : 0;
}

/* Everything is blocked and read from signalfds, except what the kernel raises for a fault of our own: blocked, it
 * would only hide where we died. */
static int block_signals(struct err *err)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        sigdelset(&blocked, faults[i]);
    if (sigprocmask(SIG_SETMASK, &blocked, NULL) < 0)
        return err_sys(err, 0, errno, "block signals");
    for (int signum = 1; signum < NSIG; signum++)
        (void)sigaction(signum, &action, NULL); /* KILL, STOP and libc's own two refuse */
    action.sa_handler = SIG_IGN;
    if (sigaction(SIGPIPE, &action, NULL) < 0)
        return err_sys(err, 0, errno, "ignore SIGPIPE");
    return 0;
}

static void raise_nofile(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    spawn_set_nofile(&limit);
    limit.rlim_cur = limit.rlim_max < NOFILE_MAX ? limit.rlim_max : NOFILE_MAX;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections at once, nothing else */
}

/* A container's terminal is meant for the entrypoint: it can only take it once we have let go. Letting go is the
 * session leader's to do; a terminal that belongs to somebody else's session stays theirs. */
static void release_terminal(void)
{
    static const struct timespec now = {0};
    sigset_t hangup;
    if (!pid1_is_init() || getsid(0) != getpid() || !isatty(STDIN_FILENO))
        return;
    terminal_is_free = ioctl(STDIN_FILENO, TIOCNOTTY) == 0;
    /* The kernel tells the foreground group, which is us, that its terminal has gone. */
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    sigaddset(&hangup, SIGCONT);
    while (sigtimedwait(&hangup, NULL, &now) > 0)
        ;
}

bool pid1_terminal_is_free(void)
{
    return terminal_is_free;
}

/* Out of the way of the numbers that keep_only fills. */
static int park_listener(int *listen_fd, struct err *err)
{
    if (*listen_fd < 0)
        return 0;
    int parked = fcntl(*listen_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 2 + CGROUP_CONTROLLER_MAX);
    if (parked < 0)
        return err_sys(err, 0, errno, "--listen: descriptor %d", *listen_fd);
    *listen_fd = parked;
    return 0;
}

/* Moves the handed descriptors down to 3.., the listener behind them, and closes the rest. */
static int keep_only(struct cgroup_dirs *dirs, int *listen_fd, struct err *err)
{
    int next = STDERR_FILENO + 1;
    for (int number = next; number < next + CGROUP_CONTROLLER_MAX; number++) {
        /* The lowest descriptor that is not yet in place goes to `number`; whatever was there and is ours has been
         * moved before, because numbers are visited in rising order. */
        int lowest = -1;
        for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
            if (dirs->fd[c] >= number && (lowest < 0 || dirs->fd[c] < dirs->fd[lowest]))
                lowest = c;
        if (lowest < 0)
            break;
        next = number + 1;
        if (dirs->fd[lowest] == number)
            continue;
        if (dup3(dirs->fd[lowest], number, O_CLOEXEC) < 0)
            return err_sys(err, 0, errno, "move descriptor %d", dirs->fd[lowest]);
        dirs->fd[lowest] = number;
    }
    if (*listen_fd >= 0) {
        if (dup3(*listen_fd, next, O_CLOEXEC) < 0)
            return err_sys(err, 0, errno, "move descriptor %d", *listen_fd);
        *listen_fd = next++;
    }
    fd_close_from(next);
    return 0;
}

int pid1_settle(int *listen_fd, struct cgroup_dirs *ret_handed, struct err *err)
{
    struct cgroup_dirs handed;
    int result = handover_take(&handed, err);
    if (result < 0)
        return result;
    environment_capture();
    if ((result = park_listener(listen_fd, err)) < 0 ||
        (result = keep_only(&handed, listen_fd, err)) < 0 || (result = block_signals(err)) < 0 ||
        (result = crash_install(pid1_is_init(), err)) < 0)
        return result;
    raise_nofile();
    release_terminal();
    umask(022);
    if (chdir("/") < 0)
        return err_sys(err, 0, errno, "change directory to '/'");
    *ret_handed = handed;
    return 0;
}
