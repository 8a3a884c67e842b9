#include "execd/exec/session.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "execd/events/bus.h"
#include "execd/exec/session_priv.h"
#include "execd/proc/environment.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

/* How often a shell that is being killed is looked at. */
#define KILL_AGAIN_MS 10
/* How often a running shell is looked at, and after how many silent looks it is given up. */
#define WATCH_MS 1000
#define SILENT_MAX 2

static void start_next(struct session *s);

/* False: no memory for a timer, so it fires now; better too early than never. */
static bool arm(struct event *timer, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    if (event_add(timer, &tv) == 0)
        return true;
    event_active(timer, EV_TIMEOUT, 0);
    return false;
}

/* A pause of the whole sandbox uses no time up. */
static void arm_limit(struct session *s, int64_t ms)
{
    s->due_ms = arm(s->timer, ms) ? loop_clock_ms() + ms : 0;
}

/* ---- leaves that are being emptied ---- */

void session_reap(evutil_socket_t fd, short what, void *arg)
{
    struct session_manager *m = arg;
    struct condemned *c, *tmp;

    (void)fd;
    (void)what;
    DL_FOREACH_SAFE(m->condemned, c, tmp)
    {
        if (!leaf_kill(c->leaf))
            continue;
        leaf_free(c->leaf);
        DL_DELETE(m->condemned, c);
        free(c);
    }
    if (m->condemned != NULL)
        arm(m->reap, KILL_AGAIN_MS);
}

/* The shell is gone, or has to go: with it goes all that it started. */
void session_drop_shell(struct session *s)
{
    struct session_manager *m = s->manager;

    shell_driver_free(take_ptr(&s->driver));
    if (s->leaf == NULL)
        return;
    struct condemned *c = xnew(struct condemned);
    c->leaf = take_ptr(&s->leaf);
    DL_APPEND(m->condemned, c);
    session_reap(-1, 0, m);
}

/* ---- what the shell says ---- */

static void on_room(void *arg)
{
    struct session *s = arg;

    if (s->driver != NULL)
        shell_driver_hold(s->driver, false);
}

static void on_output(void *arg, int stream, const char *p, size_t n)
{
    struct session *s = arg;
    struct session_run *run = s->current;

    if (run == NULL) {
        s->stray_bytes += n;
        return;
    }
    channel_append(run->channel, stream == 1 && run->separate ? EVENT_STDERR : EVENT_STDOUT, p, n);
    if (!channel_has_room(run->channel)) {
        shell_driver_hold(s->driver, true);
        channel_on_room(run->channel, on_room, s);
    }
}

/* Background runs are remembered for questions about them. */
static void retire(struct session *s, struct session_run *run)
{
    if (run->spool == NULL) {
        session_run_free(run);
        return;
    }
    DL_APPEND(s->ended, run);
    if (++s->n_ended <= s->manager->config.history_max)
        return;
    struct session_run *oldest = s->ended;
    DL_DELETE(s->ended, oldest);
    s->n_ended--;
    session_run_free(oldest);
}

static void finish_current(struct session *s, const struct exit_status *exit)
{
    struct session_run *run = take_ptr(&s->current);

    (void)event_del(s->timer);
    (void)event_del(s->watch);
    s->stop = STOP_NONE;
    if (run == NULL)
        return;
    channel_on_room(run->channel, NULL, NULL);
    if (s->driver != NULL)
        shell_driver_hold(s->driver, false);
    session_run_close(run, exit);
    retire(s, run);
    s->idle_since_ms = clock_monotonic_ms();
    if (s->queue != NULL)
        event_active(s->kick, EV_TIMEOUT, 0);
    else if (s->on_idle_change != NULL)
        s->on_idle_change(s->arg);
}

static void on_result(void *arg, int status, const char *cwd)
{
    struct session *s = arg;

    free(s->cwd);
    s->cwd = xstrdup(cwd);
    if (s->current != NULL)
        s->current->status = status;
    finish_current(s, NULL);
}

void session_publish_end(const struct session *s, const char *reason)
{
    events_publish(EVENTS_SESSION_ENDED, json_pack("{s:s,s:s}", "id", s->id, "reason", reason));
}

static void on_exit_status(void *arg, const struct exit_status *status)
{
    struct session *s = arg;

    finish_current(s, status);
    session_publish_end(s, status->signalled ? "signal" : "exit");
    session_drop_shell(s);
}

static const struct shell_ops shell_ops = {on_output, on_result, on_exit_status};

/* ---- the steps of an end ---- */

/* What a run has said before it is stopped counts. False: it has ended, or the shell. */
static bool settle(struct session *s)
{
    if (s->current != NULL && s->driver != NULL)
        shell_driver_settle(s->driver);
    return s->current != NULL && s->driver != NULL;
}

static void stop_run(struct session *s, enum run_end reason)
{
    if (s->current->end == RUN_END_NONE)
        s->current->end = reason;
    if (s->stop != STOP_NONE)
        return;
    s->stop = STOP_INTERRUPTED;
    shell_driver_interrupt(s->driver);
    arm_limit(s, s->manager->config.grace_ms / 8);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    (void)fd;
    (void)what;
    if (!settle(s))
        return;
    int64_t left_ms = s->due_ms - loop_clock_ms();
    if (left_ms > 0) {
        arm_limit(s, left_ms);
        return;
    }
    switch (s->stop) {
    case STOP_NONE:
        stop_run(s, RUN_END_TIMEOUT);
        break;
    case STOP_INTERRUPTED: /* between fork and exec a child of the shell loses a signal: once more */
        s->stop = STOP_AGAIN;
        shell_driver_interrupt(s->driver);
        arm_limit(s, s->manager->config.grace_ms);
        break;
    case STOP_AGAIN:
        s->stop = STOP_OTHERS_KILLED;
        shell_driver_kill_others(s->driver);
        shell_driver_interrupt(s->driver); /* a loop of the shell's own goes on without them */
        arm_limit(s, s->manager->config.grace_ms / 2);
        break;
    case STOP_OTHERS_KILLED:
    case STOP_SHELL_KILLED:
        s->stop = STOP_SHELL_KILLED;
        (void)leaf_kill(s->leaf); /* on_exit_status follows; until then, again */
        arm_limit(s, KILL_AGAIN_MS);
        break;
    }
}

/* A text that redefines the shell's own words can lose its report, never its end. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    (void)fd;
    (void)what;
    if (s->current == NULL || s->driver == NULL)
        return;
    s->silent = shell_driver_is_silent(s->driver) ? s->silent + 1 : 0;
    if (s->silent < SILENT_MAX) {
        arm(s->watch, WATCH_MS);
        return;
    }
    if (s->current->error == NULL)
        s->current->error =
            xstrdup("the shell no longer reports: were its own commands redefined?");
    s->stop = STOP_SHELL_KILLED;
    (void)leaf_kill(s->leaf); /* on_exit_status follows; until then, again */
    arm_limit(s, KILL_AGAIN_MS);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    start_next(arg);
}

/* ---- runs ---- */

int session_start_shell(struct session *s, struct err *err)
{
    struct shell_start start = {.wrap = s->wrap};
    struct arena arena;
    size_t n = s->envs.n + shell_driver_env.n;

    arena_init(&arena);
    struct jmap overlay = {arena_alloc(&arena, n * sizeof(struct jpair)), n};
    int rc = overlay.items == NULL
                 ? err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a shell")
                 : 0;
    if (rc == 0) {
        memcpy(overlay.items, shell_driver_env.items, shell_driver_env.n * sizeof(struct jpair));
        if (s->envs.n > 0)
            memcpy(overlay.items + shell_driver_env.n, s->envs.items,
                   s->envs.n * sizeof(struct jpair));
        rc = environment_build(&arena, &overlay, &start.envp, err);
    }
    if (rc == 0 && environment_resolve_cwd(&arena, s->cwd, start.envp, &start.cwd, err) < 0)
        start.cwd =
            s->start_cwd; /* the last directory is gone; the first may be too: then exec says so */
    if (rc == 0)
        rc = leaf_new(s->id, &s->leaf, err);
    start.leaf = s->leaf;
    if (rc == 0)
        rc = shell_driver_new(s->manager->base, &start, &shell_ops, s, &s->driver, err);
    arena_done(&arena);
    if (rc < 0)
        session_drop_shell(s);
    return rc;
}

/* What a wrapping program was given at its start is used up. */
static int start_shell_again(struct session *s, struct err *err)
{
    if (s->wrap != NULL)
        return err_set(err, ERR_RUNTIME_ERROR, ESRCH, "the session's shell has ended");
    return session_start_shell(s, err);
}

/* The shell has heard nothing of it. */
static void fail_to_begin(struct session *s, const char *why)
{
    s->current->end = RUN_END_SPAWN_FAILED;
    s->current->status = 255;
    s->current->error = xstrdup(why);
    finish_current(s, NULL);
}

static void begin(struct session *s, struct session_run *run)
{
    static const char restarted[] = "{\"state\":\"restarted\"}";
    struct err err = {0};

    if (s->driver == NULL) {
        if (start_shell_again(s, &err) < 0) {
            fail_to_begin(s, err.text);
            return;
        }
        if (s->shell_seen) {
            s->restarts++;
            channel_append(run->channel, EVENT_SESSION, restarted, sizeof(restarted) - 1);
        }
        s->shell_seen = true;
    }
    session_run_begin(run);
    const struct shell_text text = {
        .code = run->command, .cwd = run->cwd, .envs = &run->envs, .merge = !run->separate};
    int rc = shell_driver_run(s->driver, &text);
    free(take_ptr(&run->command));
    run->envs = (struct jmap){0};
    arena_done(&run->arena);
    /* -EPIPE: a shell that takes no text any more is about to end, and on_exit_status says how. */
    if (rc < 0 && rc != -EPIPE) {
        fail_to_begin(s, rc == -EOVERFLOW
                             ? "the text is longer than 64 MiB once it is quoted for the shell"
                             : "no memory for the text of the run");
        return;
    }
    s->silent = 0;
    arm(s->watch, WATCH_MS);
    if (run->timeout_ms > 0)
        arm_limit(s, run->timeout_ms);
}

static void start_next(struct session *s)
{
    struct session_run *run = s->queue;

    if (s->current != NULL || run == NULL)
        return;
    session_run_dequeue(run);
    s->current = run;
    s->runs++;
    s->last_run_us = clock_wall_us();
    s->idle_since_ms = clock_monotonic_ms();
    if (s->on_idle_change != NULL)
        s->on_idle_change(s->arg);
    begin(s, run);
}

static bool is_name(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";

    if (strspn(text, letters) == 0)
        return false;
    return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789")] ==
           '\0';
}

static int check_run(const struct session *s, const struct session_run_request *r, struct err *err)
{
    if (s->manager->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "the agent is shutting down");
    if (s->n_queued >= s->manager->config.queue_max)
        return err_set(err, ERR_TOO_MANY_COMMANDS, EAGAIN,
                       "%u runs wait in this session, which is the limit", s->n_queued);
    if (s->manager->queued_text > s->manager->config.queue_text)
        return err_set(err, ERR_TOO_MANY_COMMANDS, EAGAIN,
                       "the runs that wait hold %zu bytes of text, which is the limit",
                       s->manager->queued_text);
    for (size_t i = 0; i < r->envs.n; i++) {
        if (!is_name(r->envs.items[i].key)) /* they become assignments of the shell */
            return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                           "envs: '%.64s' is no variable name", r->envs.items[i].key);
    }
    return 0;
}

int session_start_run(struct session *s, const struct session_run_request *request,
                      struct session_run **ret_run, struct channel **ret_channel, struct err *err)
{
    int rc = check_run(s, request, err);
    if (rc < 0)
        return rc;
    struct session_run *run = session_run_new(s, request, err);
    if (run == NULL)
        return -err->errnum;
    session_run_enqueue(run);
    *ret_run = run;
    *ret_channel = channel_ref(run->channel);
    event_active(s->kick, EV_TIMEOUT, 0);
    return 0;
}

struct session_run *session_find_run(struct session *s, const char *run_id)
{
    struct session_run *run;

    if (s->current != NULL && strcmp(s->current->id, run_id) == 0)
        return s->current;
    DL_FOREACH(s->queue, run)
    {
        if (strcmp(run->id, run_id) == 0)
            return run;
    }
    DL_FOREACH(s->ended, run)
    {
        if (strcmp(run->id, run_id) == 0)
            return run;
    }
    return NULL;
}

static void close_queued(struct session *s, struct session_run *run, enum run_end reason)
{
    session_run_dequeue(run);
    run->end = reason;
    run->status = -1;
    session_run_close(run, NULL);
    retire(s, run);
}

int session_interrupt(struct session *s, struct session_run *run, struct err *err)
{
    bool is_current = run == NULL || run == s->current;

    /* Of the current one nothing may be left once it has settled. */
    if (is_current ? !settle(s) : run->closed)
        return err_set(err, ERR_COMMAND_NOT_RUNNING, ESRCH, "nothing runs in session %s", s->id);
    if (is_current)
        stop_run(s, RUN_END_INTERRUPTED);
    else
        close_queued(s, run, RUN_END_INTERRUPTED);
    return 0;
}

void session_interrupt_all(struct session *s)
{
    while (s->queue != NULL)
        close_queued(s, s->queue, RUN_END_INTERRUPTED);
    if (settle(s))
        stop_run(s, RUN_END_INTERRUPTED);
}

static void end_runs(struct session *s, enum run_end reason)
{
    while (s->queue != NULL)
        close_queued(s, s->queue, reason);
    if (!settle(s))
        return;
    s->current->end = reason;
    s->current->status = -1;
    finish_current(s, NULL);
}

void session_close_all(struct session *s, enum run_end reason)
{
    s->on_idle_change = NULL;
    end_runs(s, reason);
}

int session_restart(struct session *s, struct err *err)
{
    if (s->manager->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "the agent is shutting down");
    end_runs(s, RUN_END_RESTARTED);
    session_drop_shell(s);
    free(s->cwd);
    s->cwd = xstrdup(s->start_cwd);
    s->restarts++;
    return start_shell_again(s, err);
}

void session_get_status(const struct session *s, struct session_status *ret)
{
    *ret = (struct session_status){
        .alive = s->driver != NULL,
        .busy = s->current != NULL,
        .queued = s->n_queued,
        .created_us = s->created_us,
        .last_run_us = s->last_run_us,
        .idle_since_ms = s->idle_since_ms,
        .runs = s->runs,
        .restarts = s->restarts,
        .stray_bytes = s->stray_bytes,
        .cwd = s->cwd,
        .pid = s->driver != NULL ? shell_driver_pid(s->driver) : 0,
    };
}

int session_make_events(struct session *s)
{
    struct event_base *base = s->manager->base;

    s->timer = event_new(base, -1, 0, on_timer, s);
    s->watch = event_new(base, -1, 0, on_watch, s);
    s->kick = event_new(base, -1, 0, on_kick, s);
    return s->timer != NULL && s->watch != NULL && s->kick != NULL ? 0 : -ENOMEM;
}
