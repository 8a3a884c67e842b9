#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/loop_delay.h"
#include "server/runtime/native/native_priv.h"

#define GIVE_UP_MS 10000 /* for processes that do not die (uninterruptible) */
#define RETRY_FIRST_MS 1
#define RETRY_MAX_MS 50
#define THAW_MS 100 /* between looks for frozen groups while the first process ends */

/*
 * A removal under way:
 *
 *   KILL ──first process gone──► GROUPS ──all groups removed──► FOLDER ──worker done──► answered
 *                                  │ ▲ busy: kill the rest, wait
 *                                  └─┘
 * The end of the first process is the end of its pid namespace: the kernel kills and reaps everybody in it first.
 * Mounts, network and IPC live in namespaces that vanish with the last process.
 */
enum removal_state { REMOVAL_KILL, REMOVAL_GROUPS, REMOVAL_FOLDER, REMOVAL_OVER };

struct waiter {
    runtime_done_fn done;
    void *arg;
    struct waiter *next;
};

struct removal {
    struct box *box; /* borrowed; NULL when the runtime went away while the worker was busy */
    enum removal_state state;
    int sandboxes_fd; /* owned copy: the worker may outlive the runtime */
    char id[ID_UUID_LEN + 1];
    int deleted; /* the worker's result */
    int64_t deadline_ms;
    int retry_ms;
    struct event *timer;    /* owned */
    struct waiter *waiters; /* owned */
};

static void tick(struct removal *r);

static void free_removal(struct removal *r)
{
    while (r->waiters != NULL) {
        struct waiter *next = r->waiters->next;
        free(r->waiters);
        r->waiters = next;
    }
    if (r->timer != NULL)
        event_free(r->timer);
    if (r->sandboxes_fd >= 0)
        close(r->sandboxes_fd);
    free(r);
}

/* The box goes with a success; after a failure it stays, so that the next attempt knows what there is. */
static void finish(struct removal *r, const struct err *err)
{
    struct box *box = r->box;

    box->removal = NULL;
    if (err == NULL)
        box_free(box);
    for (struct waiter *w = r->waiters; w != NULL; w = w->next)
        w->done(w->arg, err, NULL);
    free_removal(r);
}

static void fail(struct removal *r, int errnum, const char *what)
{
    struct err err = {0};

    (void)err_sys(&err, ERR_SANDBOX_DELETE_FAILED, errnum, "%s of sandbox %s", what, r->id);
    finish(r, &err);
}

static void arm(struct removal *r, int ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    (void)event_add(r->timer, &tv); /* fails only for want of a few words of memory */
}

static void wait_a_little(struct removal *r)
{
    arm(r, r->retry_ms);
    r->retry_ms = MIN(r->retry_ms * 2, RETRY_MAX_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    LOOP_WORK("timer", "removal");
    tick(arg);
}

/* Runs on a worker. */
static void run_delete(void *arg)
{
    struct removal *r = arg;

    r->deleted = folder_delete(r->sandboxes_fd, r->id);
}

static void on_deleted(void *arg)
{
    struct removal *r = arg;

    if (r->box == NULL) {
        free_removal(r);
        return;
    }
    r->state = REMOVAL_OVER;
    tick(r);
}

/* Killed first, so that execd freezes nothing any more; then thawed, because a frozen process does not die. */
static void kill_first(struct removal *r)
{
    struct box *box = r->box;

    if (box->pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, box->pidfd, SIGKILL, NULL,
                      0); /* ESRCH: gone already */
    group_thaw_all(&box->groups);
}

static void tick_groups(struct removal *r)
{
    int rc = group_remove(&r->box->groups);

    if (rc == -EBUSY || rc == -ENOTEMPTY) {
        group_thaw_all(&r->box->groups);
        (void)!group_kill(&r->box->groups); /* what is left is seen by the next attempt */
        if (loop_clock_ms() < r->deadline_ms)
            wait_a_little(r);
        else
            fail(r, EBUSY, "processes do not end in the control group");
        return;
    }
    if (rc < 0) {
        fail(r, -rc, "remove the control group");
        return;
    }
    r->state = REMOVAL_FOLDER;
    tick(r);
}

/* Frozen itself when the signal came, execd may have frozen a leaf on its way out. */
static void thaw_again(struct removal *r)
{
    group_thaw_all(&r->box->groups);
    arm(r, THAW_MS);
}

static void tick_folder(struct removal *r)
{
    int rc = work_post(r->box->native->pool, run_delete, on_deleted, r);

    if (rc == -EAGAIN) /* the workers are busy: the queue drains */
        wait_a_little(r);
    else if (rc < 0)
        fail(r, -rc, "delete the folder");
}

static void tick(struct removal *r)
{
    (void)event_del(r->timer); /* a tick that came another way answers for it */
    switch (r->state) {
    case REMOVAL_KILL:
        if (r->box->pidfd >= 0 && !r->box->dead) {
            if (loop_clock_ms() >= r->deadline_ms)
                fail(r, EBUSY, "the first process does not end");
            else
                thaw_again(r);
            return;
        }
        r->state = REMOVAL_GROUPS;
        r->retry_ms = RETRY_FIRST_MS;
        tick_groups(r);
        return;
    case REMOVAL_GROUPS:
        tick_groups(r);
        return;
    case REMOVAL_FOLDER:
        tick_folder(r);
        return;
    case REMOVAL_OVER:
        if (r->deleted < 0)
            fail(r, -r->deleted, "delete the folder");
        else
            finish(r, NULL);
        return;
    }
}

void removal_on_exit(struct box *box)
{
    if (box->removal->state == REMOVAL_KILL)
        tick(box->removal);
}

void removal_abort(struct box *box)
{
    struct removal *r = box->removal;

    box->removal = NULL;
    if (r->state == REMOVAL_FOLDER && !evtimer_pending(r->timer, NULL))
        r->box = NULL; /* the worker's end frees it */
    else
        free_removal(r);
}

static void begin(struct removal *r)
{
    struct native *n = r->box->native;

    r->sandboxes_fd = fd_dup_cloexec(n->sandboxes_fd);
    r->timer = evtimer_new(n->rt.base, on_timer, r);
    if (r->timer == NULL)
        abort(); /* no memory for a few words */
    r->deadline_ms = loop_clock_ms() + GIVE_UP_MS;
    r->retry_ms = RETRY_FIRST_MS;
    kill_first(r);
    arm(r, 0); /* nothing is answered before the caller is off the stack */
}

void removal_begin(struct box *box, runtime_done_fn done, void *arg)
{
    struct waiter *w = xnew(struct waiter);
    struct removal *r = box->removal;
    bool is_new = r == NULL;

    if (is_new) {
        r = box->removal = xnew(struct removal);
        r->box = box;
        memcpy(r->id, box->id, sizeof(r->id));
    }
    *w = (struct waiter){.done = done, .arg = arg, .next = r->waiters};
    r->waiters = w;
    if (is_new)
        begin(r);
}
