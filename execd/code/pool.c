#include "execd/code/pool.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "execd/code/memory.h"
#include "proto/base/mem.h"

#define QUIET_MS 300  /* after the latest start: those that somebody waits for go first */
#define LOOK_MS 2000  /* at the memory: while some wait, and while it is short */
#define RETRY_MS 1000 /* doubled by each failure in a row: the interpreter may just be warming up */
#define RETRIES_MAX 6

struct waiting {
    struct pool *owner;    /* borrowed */
    struct kernel *kernel; /* owned */
    bool ready, dead;
    struct waiting *prev, *next;
};

struct pool {
    struct kernel_host *host;              /* borrowed */
    const struct kernelspec_env *spec_env; /* borrowed */
    unsigned size;
    char *spec_name;         /* owned; the kernelspec asked for last, NULL before */
    struct waiting *waiting; /* owned list, oldest first */
    struct event *timer;     /* owned */
    unsigned failures;       /* in a row */
    struct pool_stats stats;
};

static void arm(struct pool *p, int ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    (void)event_add(p->timer, &tv); /* fails only when memory is exhausted */
}

static void forget(struct waiting *w)
{
    DL_DELETE(w->owner->waiting, w);
    kernel_free(w->kernel);
    free(w);
}

/* ---- what a kernel tells while it waits ---------------------------------------------------------- */

static bool on_message(void *arg, enum kernel_channel channel, const struct jmsg *msg)
{
    (void)arg;
    (void)channel;
    (void)msg;
    return false;
}

static void on_ready(void *arg)
{
    struct waiting *w = arg;
    if (kernel_rehearse(w->kernel) < 0)
        kernel_kill(w->kernel, "it takes no requests");
}

static void on_reply(void *arg, const struct jmsg *msg)
{
    struct waiting *w = arg;
    if (strcmp(msg->type, "execute_reply") != 0)
        return;
    w->ready = true;
    w->owner->failures = 0;
}

static void on_iopub(void *arg, struct kernel_msg *m)
{
    (void)arg;
    kernel_msg_free(m);
}

static void on_output_lost(void *arg, const struct jmsg *msg)
{
    (void)arg;
    (void)msg;
}

static void on_dead(void *arg, const char *reason)
{
    struct waiting *w = arg;
    (void)reason;
    w->dead = true;
    w->owner->stats.died++;
    w->owner->failures++;
    arm(w->owner, 0); /* it is freed from there */
}

static const struct kernel_ops callbacks = {
    .on_message = on_message,
    .on_ready = on_ready,
    .on_reply = on_reply,
    .on_iopub = on_iopub,
    .on_input = on_reply, /* which ignores it */
    .on_output_lost = on_output_lost,
    .on_dead = on_dead,
};

/* ---- how many there are -------------------------------------------------------------------------- */

static const struct kernelspec *find_spec(const struct kernelspecs *specs, const char *name)
{
    for (size_t i = 0; i < specs->n; i++)
        if (strcmp(specs->items[i].name, name) == 0)
            return &specs->items[i];
    return NULL;
}

static int start_one(struct pool *p)
{
    struct err err;
    struct kernelspecs *specs = kernelspecs_scan(p->spec_env);
    struct kernel_plan plan = {.spec = find_spec(specs, p->spec_name), .in_advance = true};
    struct waiting *w = xnew(struct waiting);
    w->owner = p;
    int r = plan.spec ? kernel_start(p->host, &plan, &callbacks, w, &w->kernel, &err) : -ENOENT;
    kernelspecs_free(specs);
    if (r < 0)
        free(w);
    else
        DL_APPEND(p->waiting, w);
    return r;
}

static unsigned sweep(struct pool *p)
{
    struct waiting *w, *next;
    unsigned n = 0;
    DL_FOREACH_SAFE(p->waiting, w, next)
    {
        if (w->dead)
            forget(w);
        else
            n++;
    }
    return n;
}

static void give_up(struct pool *p)
{
    struct waiting *w;
    DL_FOREACH(p->waiting, w)
    {
        w->ready = false;
        kernel_kill(w->kernel, "memory is short");
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct pool *p = arg;
    unsigned n = sweep(p);
    if (memory_is_short()) {
        give_up(p);
        arm(p, LOOK_MS);
        return;
    }
    if (n < p->size && p->failures < RETRIES_MAX) {
        bool started = start_one(p) == 0;
        p->failures += !started;
        arm(p, started ? QUIET_MS : RETRY_MS << p->failures);
    } else if (n > 0) {
        arm(p, LOOK_MS);
    }
}

/* ---- giving -------------------------------------------------------------------------------------- */

static void want(struct pool *p, const struct kernel_plan *plan)
{
    if (!p->spec_name || strcmp(p->spec_name, plan->spec->name) != 0) {
        free(p->spec_name);
        p->spec_name = xstrdup(plan->spec->name);
    }
    p->failures = 0;
    arm(p, QUIET_MS);
}

int pool_take(struct pool *p, const struct kernel_plan *plan, const struct kernel_ops *ops,
              void *arg, struct kernel **ret_kernel, struct err *err)
{
    struct waiting *w;
    if (!kernel_can_be_forked(plan->spec))
        return -EAGAIN;
    want(p, plan);
    DL_FOREACH(p->waiting, w)
    {
        int r = w->ready && !w->dead ? kernel_reuse(w->kernel, plan, ops, arg, err) : -EAGAIN;
        if (r == -EAGAIN)
            continue;
        if (r < 0)
            return r;
        *ret_kernel = w->kernel;
        DL_DELETE(p->waiting, w);
        free(w);
        p->stats.taken++;
        return 0;
    }
    return -EAGAIN;
}

/* ---- life ---------------------------------------------------------------------------------------- */

struct pool *pool_new(struct kernel_host *host, const struct kernelspec_env *spec_env,
                      unsigned size)
{
    struct pool *p = xnew(struct pool);
    p->host = host;
    p->spec_env = spec_env;
    p->size = size;
    p->timer = evtimer_new(host->base, on_timer, p);
    if (!p->timer)
        abort(); /* as xmalloc: a small block */
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    while (p->waiting)
        forget(p->waiting);
    event_free(p->timer);
    free(p->spec_name);
    free(p);
}

void pool_get_stats(const struct pool *p, struct pool_stats *ret_stats)
{
    const struct waiting *w;
    *ret_stats = p ? p->stats : (struct pool_stats){0};
    if (!p)
        return;
    ret_stats->type = p->spec_name;
    DL_FOREACH(p->waiting, w)
    ret_stats->ready += w->ready && !w->dead;
}
