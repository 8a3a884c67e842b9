#include "execd/init/hook.h"

#include <errno.h>
#include <event2/event.h>

#include "execd/init/child_plan.h"
#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"
#include "execd/proc/spawn.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

#define KILL_EVERY_MS 20

struct hook {
    struct pidref process;
    struct leaf *leaf;   /* owned */
    struct event *timer; /* owned: the time limit, then the repeated KILL */
    int64_t due_ms; /* of timer, loop_clock_ms: a pause of the whole sandbox uses none of it up */
    bool timed_out;
    hook_fn on_end;
    void *arg;
};

static void arm(struct hook *hook, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    hook->due_ms = loop_clock_ms() + ms;
    if (event_add(hook->timer, &tv) < 0) { /* no memory for a limit: it ends now */
        hook->due_ms = 0;
        event_active(hook->timer, EV_TIMEOUT, 0);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct hook *hook = arg;
    (void)fd;
    (void)what;
    int64_t left_ms = hook->due_ms - loop_clock_ms();
    if (left_ms > 0) {
        arm(hook, left_ms);
        return;
    }
    if (!hook->timed_out && pidref_has_ended(&hook->process))
        return; /* in its time: on_reaped follows */
    hook->timed_out = true;
    (void)leaf_kill(hook->leaf); /* again until the leader is reaped */
    arm(hook, KILL_EVERY_MS);
}

static void on_reaped(void *arg, const struct exit_status *status)
{
    struct hook *hook = arg;
    hook_fn on_end = hook->on_end;
    void *on_end_arg = hook->arg;
    int code = hook->timed_out     ? HOOK_TIMED_OUT
               : status->signalled ? 128 + status->code
                                   : status->code;
    pidref_done(&hook->process);
    hook_free(hook);
    on_end(on_end_arg, code);
}

static int spawn(struct hook *hook, const char *const *argv, struct err *err)
{
    struct spawn_plan plan;
    struct arena arena;
    arena_init(&arena);
    int result = child_plan(argv, &arena, &plan, err);
    if (result == 0 && (result = leaf_new("hook", &hook->leaf, err)) == 0) {
        leaf_add_to_plan(hook->leaf, &plan);
        result = spawn_process(&plan, &hook->process, err);
    }
    arena_done(&arena);
    return result;
}

int hook_start(struct event_base *base, const char *const *argv, int64_t timeout_ms, hook_fn on_end,
               void *arg, struct hook **ret_hook, struct err *err)
{
    struct hook *hook = xnew(struct hook);
    *hook = (struct hook){.process = {.fd = -1}, .on_end = on_end, .arg = arg};
    hook->timer = evtimer_new(base, on_timer, hook);
    int result = hook->timer != NULL ? spawn(hook, argv, err)
                                     : err_set(err, 0, ENOMEM, "no memory for a timer");
    if (result < 0) {
        hook_free(hook);
        return result;
    }
    leaf_set_leader(hook->leaf, hook->process.pid);
    reaper_watch(hook->process.pid, on_reaped, hook);
    arm(hook, timeout_ms);
    *ret_hook = hook;
    return 0;
}

void hook_free(struct hook *hook)
{
    if (hook == NULL)
        return;
    if (pidref_is_set(&hook->process))
        reaper_forget(hook->process.pid);
    pidref_done(&hook->process);
    leaf_free(hook->leaf);
    if (hook->timer != NULL)
        event_free(hook->timer);
    free(hook);
}
