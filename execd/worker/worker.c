#include "execd/worker/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "execd/proc/reaper.h"
#include "execd/proc/spawn.h"
#include "execd/proc/users.h"
#include "proto/api/errors.h"
#include "proto/base/cleanup.h"
#include "proto/base/mem.h"

/* Lives until the process is reaped and nobody holds it any more. */
struct worker {
    struct pidref child;
    struct event *grace; /* owned */
    bool held, running;
};

static unsigned n_workers;

/* What root is allowed to do with files; everything else is taken from it, too. */
static const uint64_t file_caps = UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_DAC_OVERRIDE |
                                  UINT64_C(1) << CAP_DAC_READ_SEARCH | UINT64_C(1) << CAP_FOWNER |
                                  UINT64_C(1) << CAP_FSETID;

static void free_unused(struct worker *w)
{
    if (w->held || w->running)
        return;
    event_free(w->grace);
    pidref_done(&w->child);
    free(w);
    n_workers--;
}

static void on_exit_of(void *arg, const struct exit_status *status)
{
    struct worker *w = arg;

    (void)status;
    w->running = false;
    free_unused(w);
}

static void on_grace(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;

    (void)fd;
    (void)what;
    (void)!pidref_signal(&w->child, SIGKILL); /* fails only when it is dead already */
}

void worker_release(struct worker *w)
{
    static const struct timeval grace = {.tv_sec = WORKER_GRACE_MS / 1000};

    w->held = false;
    if (w->running && event_add(w->grace, &grace) < 0)
        on_grace(-1, 0, w); /* no memory for a timer: no grace either */
    free_unused(w);
}

static int look_up(uid_t uid, gid_t gid, struct spawn_plan *plan, struct user *account,
                   struct err *err)
{
    int rc = users_by_uid(uid, account);
    int n = 0;

    if (rc == 0 && account->known)
        rc = n = users_groups(account->name, gid, plan->groups, PLAN_GROUPS_MAX);
    if (rc < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -rc, "look up the account of uid %u", uid);
    plan->switch_user = true;
    plan->uid = uid;
    plan->gid = gid;
    plan->n_groups = (size_t)n;
    return 0;
}

static int spawn(const struct worker_place *place, int fd, struct pidref *ret_child,
                 struct err *err)
{
    bool enter = place->mount_ns >= 0;
    const char *const argv[] = {"execd", FILE_WORKER_ARG, enter ? FILE_WORKER_ENTER : NULL, NULL};
    uid_t uid = place->uid;
    gid_t gid = place->gid;
    struct user account;
    struct spawn_plan plan;

    plan_init(&plan);
    int rc = look_up(uid, gid, &plan, &account, err);
    if (rc < 0)
        return rc;
    bool has_home = account.known && account.home[0] == '/';
    cleanup_free char *home = xasprintf("HOME=%s", has_home ? account.home : "/");
    const char *const envp[] = {home, "PATH=/usr/bin:/bin", "LANG=C.UTF-8", NULL};
    plan.file = "/proc/self/exe";
    plan.argv = argv;
    plan.envp = envp;
    plan.cwd = "/";
    for (int target = 0; target < WORKER_FD; target++)
        plan.fds[plan.n_fds++] = (struct plan_fd){-1, target};
    plan.fds[plan.n_fds++] = (struct plan_fd){fd, WORKER_FD};
    plan.rlimits[plan.n_rlimits++] = (struct plan_rlimit){RLIMIT_CORE, {0, 0}};
    plan.drop_caps = enter ? 0 : uid == 0 ? ~file_caps : ~UINT64_C(0);
    plan.trusted = enter; /* it gives up what it needs to enter by itself */
    if (enter)
        plan.fds[plan.n_fds++] = (struct plan_fd){place->mount_ns, WORKER_NS_FD};
    plan.no_new_privs = true;
    plan.oom_score_adj = PLAN_OOM_SCORE_ADJ;
    plan.death_signal = SIGKILL;
    rc = spawn_process(&plan, ret_child, err);
    if (rc != -EPERM)
        return rc;
    err->code = ERR_NOT_SUPPORTED;
    return err_wrap(err,
                    "execd may not take the identity %u:%u (it needs CAP_SETUID, CAP_SETGID, "
                    "CAP_SETPCAP)",
                    uid, gid);
}

int worker_start(struct event_base *base, const struct worker_place *place,
                 struct worker **ret_worker, int *ret_fd, struct err *err)
{
    struct pidref child;
    int pair[2];

    if (n_workers == WORKERS_MAX)
        return err_set(err, ERR_TOO_MANY_WORKERS, EAGAIN,
                       "%d requests with identities of their own run already", WORKERS_MAX);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, errno, "make a socket pair");
    cleanup_fd int ours = pair[0];
    cleanup_fd int theirs = pair[1];
    struct event *grace = evtimer_new(base, NULL, NULL);
    if (grace == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a worker");
    int rc = spawn(place, theirs, &child, err);
    if (rc < 0) {
        event_free(grace);
        return rc;
    }
    struct worker *w = xnew(struct worker);
    *w = (struct worker){.child = child, .grace = grace, .held = true, .running = true};
    (void)evtimer_assign(grace, base, on_grace, w); /* fails for bad flags only */
    n_workers++;
    reaper_watch(child.pid, on_exit_of, w);
    *ret_worker = w;
    *ret_fd = take_fd(&ours);
    return 0;
}
