/*
 * Whether sessions are possible here is found out by making one, all but its shell.
 */
#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "execd/isolate/manager_priv.h"
#include "execd/proc/reaper.h"
#include "execd/proc/spawn.h"
#include "proto/base/mem.h"

#define PROBE_DIR "probe"
#define READS_MAX 16 /* more than its answer takes */

static void settle(struct isolate_manager *m, const struct isolate_reply *reply)
{
    struct probe *p = &m->probe;

    p->known = true;
    p->reply = *reply;
    p->reply.message = NULL;
    if (reply->message != NULL) {
        (void)snprintf(p->message, sizeof(p->message), "%s", reply->message); /* may be cut */
        p->reply.message = p->message;
    }
    event_active(p->notify, EV_TIMEOUT, 0);
}

static void on_reply(void *arg, const struct isolate_reply *reply)
{
    settle(arg, reply);
}

static void on_gone(void *arg)
{
    struct isolate_manager *m = arg;

    if (!m->probe.known)
        settle(m, &(struct isolate_reply){.message = "the trial ended before it was set up"});
}

static const struct control_ops probe_ops = {on_reply, on_gone};

/* Its end may be seen before its answer. */
static void on_exit_status(void *arg, const struct exit_status *status)
{
    struct isolate_manager *m = arg;

    (void)status;
    for (int i = 0; i < READS_MAX && !m->probe.known; i++)
        control_hear(m->probe.control);
    pidref_done(&m->probe.child);
    control_free(take_ptr(&m->probe.control));
    isolate_leave_store(m, PROBE_DIR);
    on_gone(m);
}

static int spawn(struct isolate_manager *m, const struct isolate_plan *plan, struct err *err)
{
    static const char *const argv[] = {"execd", ISOLATE_INIT_ARG, NULL}, *const envp[] = {NULL};
    cleanup_fd int theirs = -1;
    struct spawn_plan how;

    int rc = control_new(m->base, plan, &probe_ops, m, &m->probe.control, &theirs, err);
    if (rc < 0)
        return rc;
    plan_init(&how);
    how.file = "/proc/self/exe";
    how.argv = argv;
    how.envp = envp;
    how.namespaces = CLONE_NEWPID;
    how.trusted = true;
    for (int fd = 0; fd < 3; fd++)
        how.fds[how.n_fds++] = (struct plan_fd){-1, fd};
    how.fds[how.n_fds++] = (struct plan_fd){theirs, ISOLATE_CONTROL_FD};
    rc = spawn_process(&how, &m->probe.child, err);
    if (rc < 0)
        control_free(take_ptr(&m->probe.control));
    else
        reaper_watch(m->probe.child.pid, on_exit_status, m);
    return rc;
}

static int start(struct isolate_manager *m, struct err *err)
{
    char upper[4096];
    struct isolate_mount overlay = {
        .kind = "overlay", .path = "/tmp", .source = "/tmp", .upper = upper};
    struct isolate_plan plan = {.probe = true, .strict = true, .mounts = {&overlay, 1}};

    int rc = isolate_open_store(m, err);
    if (rc == 0)
        rc = store_make(m->store, PROBE_DIR, 1, err);
    if (rc < 0)
        return rc;
    (void)snprintf(upper, sizeof(upper), "%s/" PROBE_DIR "/0", store_path(m->store)); /* fits */
    rc = spawn(m, &plan, err);
    if (rc < 0)
        isolate_leave_store(m, PROBE_DIR);
    return rc;
}

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
    struct isolate_manager *m = arg;
    struct probe_waiter *w = take_ptr(&m->probe.waiters);

    (void)fd;
    (void)what;
    while (w != NULL) {
        struct probe_waiter *next = w->next;
        if (w->on_reply != NULL)
            w->on_reply(w->arg, &m->probe.reply);
        free(w);
        w = next;
    }
}

void isolate_probe(struct isolate_manager *m, isolate_probed_fn wanted, void *arg)
{
    struct probe *p = &m->probe;
    struct probe_waiter *w = xnew(struct probe_waiter);
    struct err err = {.text = ""};

    *w = (struct probe_waiter){wanted, arg, p->waiters};
    p->waiters = w;
    if (p->known)
        event_active(p->notify, EV_TIMEOUT, 0);
    else if (p->control == NULL && start(m, &err) < 0)
        settle(m, &(struct isolate_reply){.message = err.text});
}

void isolate_probe_forget(struct isolate_manager *m, void *arg)
{
    for (struct probe_waiter *w = m->probe.waiters; w != NULL; w = w->next)
        if (w->arg == arg)
            w->on_reply = NULL;
}

void isolate_probe_done(struct isolate_manager *m)
{
    struct probe *p = &m->probe;

    if (p->child.pid > 0)
        reaper_forget(p->child.pid);
    pidref_done(&p->child);
    control_free(p->control);
    while (p->waiters != NULL) {
        struct probe_waiter *next = p->waiters->next;
        free(p->waiters);
        p->waiters = next;
    }
    if (p->notify != NULL)
        event_free(p->notify);
}

int isolate_probe_init(struct isolate_manager *m)
{
    m->probe.child = PIDREF_UNSET;
    m->probe.notify = event_new(m->base, -1, 0, on_notify, m);
    return m->probe.notify != NULL ? 0 : -ENOMEM;
}
