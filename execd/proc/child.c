/*
 * Between clone and exec: nothing here allocates, locks, logs or calls anything of libc but syscall(2).
 * Other threads (libzmq's) may have held libc's locks at the moment of the clone.
 */
#include "execd/proc/spawn_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KERNEL_SIGSET_BYTES 8
#define KERNEL_SIGNALS 64
#define PATH_MAX_CWD 4096
/* Without close_range(CLOEXEC) (before Linux 5.11) this many descriptors are looked at. */
#define FALLBACK_FDS 4096
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

/* As the kernel wants it: not glibc's struct. Zeroed = SIG_DFL on every architecture. */
struct kernel_sigaction {
    unsigned long word[4 + KERNEL_SIGSET_BYTES / sizeof(unsigned long)];
};

static noreturn_fn void fail_at(int report_fd, enum child_step step, int errnum, int candidate)
{
    struct child_report report = {.step = (int)step, .errnum = errnum, .candidate = candidate};
    /* A pipe takes this in one piece; if the parent is gone there is nobody to tell. */
    (void)syscall(SYS_write, report_fd, &report, sizeof(report));
    for (;;)
        syscall(SYS_exit_group, 127);
}

/* Each step returns 0 or a positive errno. */
static int sys_result(long result)
{
    return result < 0 ? errno : 0;
}

static int join_cgroups(const struct spawn_plan *plan)
{
    for (size_t i = 0; i < plan->n_cgroup_procs; i++)
        if (syscall(SYS_write, plan->cgroup_procs[i], "0", 1) < 0)
            return errno;
    return 0;
}

static int reset_dispositions(void)
{
    struct kernel_sigaction dfl;
    for (size_t i = 0; i < ARRAY_LEN(dfl.word); i++)
        dfl.word[i] = 0;
    for (int signum = 1; signum <= KERNEL_SIGNALS; signum++)
        if (signum != SIGKILL && signum != SIGSTOP)
            /* 32 and 33 are libc's own; the kernel does not mind. */
            (void)syscall(SYS_rt_sigaction, signum, &dfl, NULL, KERNEL_SIGSET_BYTES);
    return 0;
}

static int unblock_signals(void)
{
    unsigned long none[KERNEL_SIGSET_BYTES / sizeof(unsigned long)] = {0};
    return sys_result(syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, KERNEL_SIGSET_BYTES));
}

static int write_oom_score_adj(int value)
{
    char text[16];
    size_t at = sizeof(text);
    unsigned magnitude = value < 0 ? -(unsigned)value : (unsigned)value;
    do {
        text[--at] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    if (value < 0)
        text[--at] = '-';
    long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int result = sys_result(syscall(SYS_write, fd, text + at, sizeof(text) - at));
    syscall(SYS_close, fd);
    return result;
}

static int set_tag(uint64_t tag)
{
    struct rlimit limit = {.rlim_cur = tag, .rlim_max = tag};
    return sys_result(syscall(SYS_prlimit64, 0, RLIMIT_LOCKS, &limit, NULL));
}

static int nice_by(int increment)
{
    /* The raw call answers 20 - nice. */
    long current = syscall(SYS_getpriority, PRIO_PROCESS, 0);
    if (current < 0)
        return errno;
    return sys_result(syscall(SYS_setpriority, PRIO_PROCESS, 0, (int)(20 - current) + increment));
}

static void mark_all_cloexec(void)
{
    if (syscall(SYS_close_range, 0, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (int fd = 0; fd < FALLBACK_FDS; fd++)
        syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
}

static int move_up(int *fd, int base)
{
    long moved = *fd < 0 ? -1 : syscall(SYS_fcntl, *fd, F_DUPFD_CLOEXEC, base);
    if (*fd >= 0 && moved < 0)
        return errno;
    *fd = (int)moved;
    return 0;
}

/* Copies every source above all targets first, so that no target overwrites a source that is still needed.
 * *report_fd and *ruleset_fd move up with them. */
static int place_fds(const struct spawn_plan *plan, int *report_fd, int *ruleset_fd)
{
    int base = 3, copies[PLAN_FDS_MAX];
    for (size_t i = 0; i < plan->n_fds; i++)
        base = MAX(base, plan->fds[i].target + 1);
    int fault = move_up(report_fd, base);
    if (fault == 0)
        fault = move_up(ruleset_fd, base);
    if (fault != 0)
        return fault;
    for (size_t i = 0; i < plan->n_fds; i++) {
        long fd = plan->fds[i].source;
        if (fd < 0)
            fd = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY, 0);
        if (fd >= 0)
            fd = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, base);
        if (fd < 0)
            return errno;
        copies[i] = (int)fd;
    }
    mark_all_cloexec();
    for (size_t i = 0; i < plan->n_fds; i++)
        if (syscall(SYS_dup3, copies[i], plan->fds[i].target, 0) < 0)
            return errno;
    return 0;
}

/* The kernel accepts a chdir into a directory that lies outside the root (through a leaked descriptor's link):
 * getcwd then says "(unreachable)...". Such a place is refused. */
static int enter_cwd(const char *cwd)
{
    char where[PATH_MAX_CWD];
    if (syscall(SYS_chdir, cwd != NULL ? cwd : "/") < 0)
        return errno;
    if (syscall(SYS_getcwd, where, sizeof(where)) < 0)
        return errno == ERANGE ? ENAMETOOLONG : errno;
    return where[0] == '/' ? 0 : EACCES;
}

static int set_limits(const struct spawn_plan *plan)
{
    for (size_t i = 0; i < plan->n_rlimits; i++)
        if (syscall(SYS_prlimit64, 0, plan->rlimits[i].resource, &plan->rlimits[i].limit, NULL) < 0)
            return errno;
    return 0;
}

/* Inheritable and ambient are emptied for every child: what a program gets beyond its user's rights it must get from
 * its file (CVE-2022-24769). The bounding set needs CAP_SETPCAP, so all this is done before the user changes. */
static int drop_capabilities(uint64_t drop)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    for (int number = 0; drop != 0; number++, drop >>= 1)
        /* EINVAL: a capability that this kernel does not know, so nobody has it. */
        if ((drop & 1) != 0 && syscall(SYS_prctl, PR_CAPBSET_DROP, number, 0, 0, 0) < 0 &&
            errno != EINVAL)
            return errno;
    /* EINVAL: no ambient set before Linux 4.3. */
    (void)syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capget, &header, data) < 0)
        return errno;
    if (data[0].inheritable == 0 && data[1].inheritable == 0)
        return 0;
    data[0].inheritable = data[1].inheritable = 0;
    return sys_result(syscall(SYS_capset, &header, data));
}

static int enter_ruleset(int fd)
{
    return fd < 0 ? 0 : sys_result(syscall(SYS_landlock_restrict_self, fd, 0));
}

static int load_filter(const struct sock_fprog *filter)
{
    return sys_result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter));
}

/* As execvp: the search goes on past what is not there or not permitted; "not permitted" is remembered. */
static int execute(const struct spawn_plan *plan, int *ret_candidate)
{
    *ret_candidate = 0;
    if (plan->file != NULL) {
        syscall(SYS_execve, plan->file, plan->argv, plan->envp);
        return errno;
    }
    int result = ENOENT;
    for (int i = 0; plan->candidates[i] != NULL; i++) {
        syscall(SYS_execve, plan->candidates[i], plan->argv, plan->envp);
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
            *ret_candidate = i;
            return errno;
        }
        if (errno == EACCES && result != EACCES) {
            result = EACCES;
            *ret_candidate = i;
        }
    }
    return result;
}

noreturn_fn void child_run(const struct spawn_plan *plan, const struct child_rules *rules,
                           int report_fd)
{
    int fault, candidate = 0, ruleset_fd = plan->landlock_fd;
#define STEP(step, result)                                                                         \
    do {                                                                                           \
        if ((fault = (result)) != 0)                                                               \
            fail_at(report_fd, step, fault, candidate);                                            \
    } while (0)

    STEP(CHILD_CGROUP, join_cgroups(plan));
    STEP(CHILD_SESSION,
         sys_result(plan->new_session ? syscall(SYS_setsid) : syscall(SYS_setpgid, 0, 0)));
    reset_dispositions();
    if (plan->tty_fd >= 0)
        STEP(CHILD_TTY, sys_result(syscall(SYS_ioctl, plan->tty_fd, TIOCSCTTY, 0)));
    if (rules->has_nofile)
        STEP(CHILD_LIMITS,
             sys_result(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &rules->nofile, NULL)));
    if (plan->tag != 0)
        STEP(CHILD_LIMITS, set_tag(plan->tag));
    if (plan->nice != 0)
        STEP(CHILD_NICE, nice_by(plan->nice));
    /* Lowering needs CAP_SYS_RESOURCE: a wish, not a condition. Before the uid changes: procfs files of a
     * non-dumpable process belong to root. */
    if (plan->oom_score_adj != 0)
        (void)write_oom_score_adj(plan->oom_score_adj);
    syscall(SYS_umask, plan->umask);
    STEP(CHILD_FDS, place_fds(plan, &report_fd, &ruleset_fd));
    /* After the descriptors, which a low limit would refuse; before the privilege to raise one may go. */
    STEP(CHILD_LIMITS, set_limits(plan));
    STEP(CHILD_CAPS, drop_capabilities(plan->drop_caps | rules->drop_caps));
    /* While CAP_SYS_ADMIN, which the kernel asks for without no_new_privs, is still in effect: until the exec. */
    if (rules->filter != NULL)
        STEP(CHILD_SECCOMP, load_filter(rules->filter));
    if (plan->switch_user) {
        STEP(CHILD_GROUPS, sys_result(syscall(SYS_setgroups, plan->n_groups, plan->groups)));
        STEP(CHILD_GID, sys_result(syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid)));
        STEP(CHILD_UID, sys_result(syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid)));
    }
    STEP(CHILD_CWD, enter_cwd(plan->cwd));
    /* After the uid has changed, which clears it. A wish: old sandboxes refuse it. */
    if (plan->death_signal != 0)
        syscall(SYS_prctl, PR_SET_PDEATHSIG, plan->death_signal, 0, 0, 0);
    if (plan->no_new_privs)
        STEP(CHILD_NO_NEW_PRIVS, sys_result(syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
    STEP(CHILD_LANDLOCK, enter_ruleset(ruleset_fd));
    if (plan->seccomp != NULL)
        STEP(CHILD_SECCOMP, load_filter(plan->seccomp));
    STEP(CHILD_EXEC, unblock_signals());
    STEP(CHILD_EXEC, execute(plan, &candidate));
#undef STEP
    __builtin_unreachable();
}
