#include "execd/proc/spawn.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "execd/proc/environment.h"
#include "execd/proc/reaper.h"
#include "execd/proc/spawn_priv.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"

#define PATH_ENTRIES_MAX 256
/* As execvp when PATH is unset (confstr _CS_PATH of this libc). */
#define PATH_DEFAULT "/bin:/usr/bin"

static struct child_rules rules; /* for all children */
static bool no_clone3;           /* refused once: not asked again */

void spawn_set_nofile(const struct rlimit *limit)
{
    rules.nofile = *limit;
    rules.has_nofile = true;
}

void spawn_confine(uint64_t drop_caps, const struct sock_fprog *filter)
{
    rules.drop_caps = drop_caps;
    rules.filter = filter;
}

static struct child_rules rules_for(const struct spawn_plan *plan)
{
    struct child_rules own = rules;

    if (plan->trusted) {
        own.drop_caps = 0;
        own.filter = NULL;
    }
    return own;
}

/* Returns as fork: 0 in the child. The raw calls skip libc's fork handlers; the child needs nothing of libc. */
static long clone_with_pidfd(uint64_t namespaces, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = CLONE_PIDFD | namespaces,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    if (!no_clone3) {
        long pid = syscall(SYS_clone3, &args, sizeof(args));
        if (pid >= 0 || (errno != ENOSYS && errno != EPERM))
            return pid;
        no_clone3 = namespaces == 0; /* else it may be the namespaces that are refused */
    }
    return syscall(SYS_clone, CLONE_PIDFD | SIGCHLD | namespaces, NULL, ret_pidfd, NULL, NULL);
}

static const char *const step_texts[CHILD_STEP_MAX] = {
    [CHILD_CGROUP] = "join the cgroup",
    [CHILD_SESSION] = "make a session",
    [CHILD_TTY] = "take the terminal",
    [CHILD_LIMITS] = "set resource limits",
    [CHILD_NICE] = "change the priority",
    [CHILD_OOM] = "set oom_score_adj",
    [CHILD_FDS] = "place descriptors",
    [CHILD_CAPS] = "drop capabilities",
    [CHILD_GROUPS] = "set supplementary groups",
    [CHILD_GID] = "change to gid",
    [CHILD_UID] = "change to uid",
    [CHILD_CWD] = "change directory to",
    [CHILD_NO_NEW_PRIVS] = "set no_new_privs",
    [CHILD_LANDLOCK] = "enter the Landlock ruleset",
    [CHILD_SECCOMP] = "load the seccomp filter",
    [CHILD_EXEC] = "exec",
};

static int explain_exec(const struct spawn_plan *plan, const struct child_report *r,
                        struct err *err)
{
    const char *file = plan->file;
    if (file == NULL && r->errnum == ENOENT)
        file = plan->argv
                   [0]; /* not found anywhere: the name says more than the first place looked at */
    else if (file == NULL)
        file = plan->candidates[r->candidate];
    return err_sys(err, 0, r->errnum, "exec '%.150s'", file != NULL ? file : "");
}

static int explain(const struct spawn_plan *plan, const struct child_report *r, struct err *err)
{
    if (r->step < 0 || r->step >= CHILD_STEP_MAX || r->errnum <= 0)
        return err_set(err, 0, EPROTO, "spawn: broken report from the child");
    const char *text = step_texts[r->step];
    bool denied = r->errnum == EPERM;
    switch (r->step) {
    case CHILD_EXEC:
        return explain_exec(plan, r, err);
    case CHILD_UID:
        return err_set(err, 0, r->errnum, "%s %u: %s%s", text, plan->uid, strerror(r->errnum),
                       denied ? " (needs CAP_SETUID)" : "");
    case CHILD_GID:
        return err_set(err, 0, r->errnum, "%s %u: %s%s", text, plan->gid, strerror(r->errnum),
                       denied ? " (needs CAP_SETGID)" : "");
    case CHILD_GROUPS:
        return err_set(err, 0, r->errnum, "%s: %s%s", text, strerror(r->errnum),
                       denied ? " (needs CAP_SETGID)" : "");
    case CHILD_CWD:
        return err_sys(err, 0, r->errnum, "%s '%.150s'", text, plan->cwd != NULL ? plan->cwd : "/");
    default:
        return err_sys(err, 0, r->errnum, "%s", text);
    }
}

/* Waits for the child's report or for the end of the pipe, which is the exec. 0 = exec happened,
 * 1 = *ret_report is filled, -errno. */
static int await_report(int fd, struct child_report *ret_report)
{
    int64_t deadline = clock_monotonic_ms() + SPAWN_DEADLINE_MS;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - clock_monotonic_ms();
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n == 0)
            return -ETIMEDOUT;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n < 0)
            continue;
        ssize_t got = read(fd, ret_report, sizeof(*ret_report));
        if (got == 0)
            return 0;
        if (got == (ssize_t)sizeof(*ret_report))
            return 1;
        if (got >= 0 || errno != EINTR)
            return got >= 0 ? -EPROTO : -errno;
    }
}

/* The child is dead or about to be; it is left to the reaper, which has nobody to tell. */
static void abandon(struct pidref *child)
{
    /* Fails only when it is dead already. */
    (void)!pidref_signal(child, SIGKILL);
    reaper_forget(child->pid);
    pidref_done(child);
}

static int check_plan(const struct spawn_plan *plan, struct err *err)
{
    if (plan->n_fds > PLAN_FDS_MAX || plan->n_groups > PLAN_GROUPS_MAX ||
        plan->n_cgroup_procs > PLAN_CGROUPS_MAX || plan->n_rlimits > PLAN_RLIMITS_MAX)
        return err_set(err, 0, EINVAL, "spawn: the plan has too many entries");
    if (plan->argv == NULL || plan->argv[0] == NULL || plan->envp == NULL ||
        (plan->file == NULL && (plan->candidates == NULL || plan->candidates[0] == NULL)))
        return err_set(err, 0, EINVAL, "spawn: the plan has nothing to execute");
    return 0;
}

int spawn_process(const struct spawn_plan *plan, struct pidref *ret_child, struct err *err)
{
    int report_pipe[2];
    int result = check_plan(plan, err);
    if (result < 0)
        return result;
    if ((result = fd_pipe(report_pipe)) < 0)
        return err_sys(err, 0, -result, "make a pipe for the new process");
    cleanup_fd int read_end = report_pipe[0];
    cleanup_fd int write_end = report_pipe[1];

    const struct child_rules own = rules_for(plan);
    int pidfd = -1;
    long pid = clone_with_pidfd(plan->namespaces, &pidfd);
    if (pid < 0)
        return err_sys(err, 0, errno, "make a new process%s",
                       plan->namespaces != 0 && errno == EPERM
                           ? " in namespaces of its own (needs CAP_SYS_ADMIN)"
                           : "");
    if (pid == 0)
        child_run(plan, &own, write_end);

    struct pidref child = {.pid = (pid_t)pid, .fd = pidfd};
    struct child_report report;
    reaper_expect(child.pid);
    close(take_fd(&write_end));
    result = await_report(read_end, &report);
    if (result == 0) {
        *ret_child = child;
        return 0;
    }
    abandon(&child);
    if (result == 1)
        return explain(plan, &report, err);
    return err_set(err, 0, -result,
                   "start '%.100s': the new process did not reach its program within %d ms",
                   plan->argv[0], SPAWN_DEADLINE_MS);
}

/* ---- finding the program ---- */

static char *absolute_candidate(const char *name, const char *cwd, struct arena *arena)
{
    if (name[0] == '/')
        return arena_strndup(arena, name, strlen(name));
    return arena_printf(arena, "%s/%s", cwd != NULL ? cwd : "", name);
}

/* One candidate per absolute entry; relative and empty entries (the working directory) are not searched. */
static int search_path(const char *path, const char *name, struct arena *arena,
                       const char **candidates, size_t max, size_t *ret_n)
{
    size_t n = 0;
    while (*path != '\0' && n < max) {
        size_t len = strcspn(path, ":");
        if (path[0] == '/') {
            candidates[n] = arena_printf(arena, "%.*s/%s", (int)len, path, name);
            if (candidates[n++] == NULL)
                return -ENOMEM;
        }
        path += len + (path[len] == ':');
    }
    *ret_n = n;
    return 0;
}

int spawn_resolve(const char *name, const char *const *envp, const char *cwd, struct arena *arena,
                  const char *const **ret_candidates, struct err *err)
{
    size_t n = 0;
    if (name[0] == '\0')
        return err_set(err, 0, ENOENT, "exec '': %s", strerror(ENOENT));
    const char **candidates = arena_alloc(arena, (PATH_ENTRIES_MAX + 1) * sizeof(*candidates));
    if (candidates == NULL)
        return err_set(err, 0, ENOMEM, "out of memory");
    if (strchr(name, '/') != NULL) {
        candidates[n++] = absolute_candidate(name, cwd, arena);
        if (candidates[0] == NULL)
            return err_set(err, 0, ENOMEM, "out of memory");
    } else {
        const char *path = environment_get(envp, "PATH");
        int result = search_path(path != NULL ? path : PATH_DEFAULT, name, arena, candidates,
                                 PATH_ENTRIES_MAX, &n);
        if (result < 0)
            return err_set(err, 0, -result, "out of memory");
    }
    if (n == 0)
        return err_set(err, 0, ENOENT, "exec '%.150s': PATH has no absolute entry", name);
    candidates[n] = NULL;
    *ret_candidates = candidates;
    return 0;
}
