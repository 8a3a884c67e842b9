/* Freezing and thawing a sandbox whole, execd included: by its freezer group. */
#include <errno.h>
#include <event2/event.h>

#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "server/runtime/native/native_priv.h"

#define SETTLE_MS                                                                                  \
    2000            /* a freezer waits for processes in system calls that cannot be interrupted */
#define POLL_US 500 /* v1 has no event for "frozen" */

struct freeze {
    struct native *native; /* borrowed */
    char id[ID_UUID_LEN + 1];
    bool frozen; /* what is wanted */
    int64_t deadline_ms;
    struct event *timer; /* owned */
    runtime_done_fn done;
    void *arg;
    struct err err;
};

static void finish(struct freeze *f, const struct err *err)
{
    runtime_done_fn done = f->done;
    void *arg = f->arg;
    struct err copy = {0};

    if (err != NULL)
        copy = *err;
    event_free(f->timer);
    free(f);
    done(arg, err != NULL ? &copy : NULL, NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval soon = {.tv_usec = POLL_US};
    struct freeze *f = arg;
    const struct box *box = box_find(f->native, f->id);

    (void)fd;
    (void)what;
    if (f->err.errnum != 0) {
        finish(f, &f->err);
    } else if (box == NULL || box->removal != NULL) {
        (void)err_set(&f->err, ERR_SANDBOX_NOT_FOUND, ESRCH, "sandbox %s went away", f->id);
        finish(f, &f->err);
    } else if (group_is_settled(&box->groups, f->frozen)) {
        finish(f, NULL);
    } else if (clock_monotonic_ms() >= f->deadline_ms) {
        /* Half frozen is worse than running. */
        (void)!group_freeze(&box->groups, false);
        (void)err_set(&f->err, 0, ETIMEDOUT, "sandbox %s does not %s: a process sits in the kernel",
                      f->id, f->frozen ? "freeze" : "thaw");
        finish(f, &f->err);
    } else {
        (void)event_add(f->timer, &soon); /* fails only for want of a few words of memory */
    }
}

static void begin(struct runtime *rt, const char *id, bool frozen, runtime_done_fn done, void *arg)
{
    static const struct timeval now = {0, 0};
    struct native *n = container_of(rt, struct native, rt);
    struct freeze *f = xnew(struct freeze);
    const struct box *box = box_find(n, id);

    *f = (struct freeze){.native = n,
                         .frozen = frozen,
                         .done = done,
                         .arg = arg,
                         .deadline_ms = clock_monotonic_ms() + SETTLE_MS};
    snprintf(f->id, sizeof(f->id), "%s", id);
    int rc = box == NULL || box->dead ? -ESRCH : group_freeze(&box->groups, frozen);
    if (rc == -EOPNOTSUPP)
        (void)err_set(&f->err, ERR_API_NOT_SUPPORTED, EOPNOTSUPP,
                      "this host has no freezer: sandboxes cannot be paused");
    else if (rc < 0)
        (void)err_sys(&f->err, 0, -rc, "%s sandbox %s", frozen ? "freeze" : "thaw", id);
    f->timer = evtimer_new(n->rt.base, on_timer, f);
    if (f->timer == NULL || event_add(f->timer, &now) < 0)
        abort(); /* no memory for a few words */
}

void native_pause(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                  void *arg)
{
    (void)data;
    begin(rt, id, true, done, arg);
}

void native_resume(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                   void *arg)
{
    (void)data;
    begin(rt, id, false, done, arg);
}
