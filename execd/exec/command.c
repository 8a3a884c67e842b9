#include "execd/exec/command.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "execd/events/bus.h"
#include "execd/exec/command_priv.h"
#include "execd/proc/proc_usage.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

#define KILL_AGAIN_MS 5 /* at first: it may be a walk through all processes */
#define KILL_AGAIN_MAX_MS 1000
#define HELD_MS 2000

/*
 *   STARTING ──spawned──► RUNNING ──leader reaped──► DRAINING ──pipes through──► DONE
 *       └───────────────spawn failed─────────────────────────────────────────────▲
 *
 * The leader's exit and the end of its pipes come in either order; the command is DONE when both have come. The
 * terminal event is appended there and nowhere else. One exception: a leader that was killed and that the system does
 * not let die, on a file system that does not answer (hardening B17). Then the stream ends HELD_MS behind the kill.
 */

static void arm_timer(struct command *c, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

    c->timer_due_ms = loop_clock_ms() + ms;
    if (event_add(c->timer, &tv) < 0) { /* no memory for a timer: better too early than never */
        c->timer_due_ms = 0;
        event_active(c->timer, EV_TIMEOUT, 0);
    }
}

/* A timer that is due earlier stays: nothing makes a command live longer. */
static void arm_timer_at_latest(struct command *c, int64_t ms)
{
    if (!event_pending(c->timer, EV_TIMEOUT, NULL) || loop_clock_ms() + ms < c->timer_due_ms)
        arm_timer(c, ms);
}

static void free_leaf(struct command *c)
{
    leaf_free(take_ptr(&c->leaf));
}

/* False: there is somebody left, and the timer is set for the next round, later and later. */
static bool kill_tree(struct command *c)
{
    if (leaf_kill(c->leaf))
        return true;
    int64_t now = loop_clock_ms();
    if (c->killed_ms == 0)
        c->killed_ms = now;
    arm_timer(c, MIN(MAX((now - c->killed_ms) / 4, KILL_AGAIN_MS), KILL_AGAIN_MAX_MS));
    return false;
}

static void check_done(struct command *c);

/* Its exit may not have been read yet, and is what ended it: no timeout and nobody's wish that is looked at first. */
static bool leader_has_ended(const struct command *c)
{
    return c->leader_gone || pidref_has_ended(&c->leader);
}

static void set_reason(struct command *c, enum command_end reason)
{
    if (c->end == COMMAND_END_NONE && !leader_has_ended(c))
        c->end = reason;
}

/* The leader counts as killed, although it is there still. */
static void give_up_leader(struct command *c)
{
    c->held = true;
    c->status = (struct exit_status){.signalled = true, .code = SIGKILL};
    if (c->pump != NULL)
        pump_leader_exited(c->pump);
    check_done(c);
}

static void kill_step(struct command *c)
{
    if (c->leaf == NULL)
        return;
    if (kill_tree(c)) {
        if (c->closed) /* finish() does not look at it: the log may be what is waited for */
            free_leaf(c);
    } else if (!c->held && loop_clock_ms() - c->killed_ms >= HELD_MS && !leader_has_ended(c)) {
        give_up_leader(c);
    }
}

void command_kill(struct command *c, enum command_end reason)
{
    set_reason(c, reason);
    c->killing = true;
    kill_step(c);
}

void command_terminate(struct command *c, enum command_end reason, int grace_ms)
{
    if (c->killing)
        return;
    set_reason(c, reason);
    if (!c->terminating && c->leaf != NULL)
        (void)leaf_signal(c->leaf, SIGTERM); /* nobody to signal is what we want in the end */
    c->terminating = true;
    arm_timer_at_latest(c, grace_ms);
}

void command_shut_down(struct command *c, int signum)
{
    set_reason(c, COMMAND_END_SHUTDOWN);
    (void)event_del(c->timer);
    if (c->leaf != NULL && !c->leader_gone)
        (void)leaf_signal_leader(c->leaf, signum); /* gone is what we want in the end */
}

/* The timeout or the end of a grace: SIGKILL. Then the next round of it, until the tree is empty. A leader that ended in
 * its time has met its timeout: what it leaves behind may live. A pause of the whole sandbox uses no time up. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct command *c = arg;

    (void)fd;
    (void)what;
    int64_t left_ms = c->timer_due_ms - loop_clock_ms();
    if (left_ms > 0)
        arm_timer(c, left_ms);
    else if (c->killing)
        kill_step(c);
    else if (c->terminating || !leader_has_ended(c))
        command_kill(c, COMMAND_END_TIMEOUT);
}

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
    struct command *c = arg;
    struct command_waiter *w = take_ptr(&c->waiters);

    (void)fd;
    (void)what;
    while (w != NULL) {
        struct command_waiter *next = w->next;
        if (w->on_gone != NULL)
            w->on_gone(w->arg);
        free(w);
        w = next;
    }
}

/* --- the end --- */

/* Killed, or a shell that reports that its last program was: then the leaf says whether the kernel did it. */
static bool was_oom(const struct command *c)
{
    bool killed = c->status.signalled ? c->status.code == SIGKILL : c->status.code == 128 + SIGKILL;

    return c->end == COMMAND_END_NONE && killed && c->receipt.usage.oom_kills > 0;
}

static void classify(struct command *c)
{
    if (was_oom(c))
        c->end = COMMAND_END_OOM;
    else if (c->end == COMMAND_END_NONE)
        c->end = c->status.signalled ? COMMAND_END_SIGNAL : COMMAND_END_EXIT;
    /* Told to end, and it did so by itself with a status of its own: that status is the truth. */
    else if (!c->status.signalled && c->status.code == 0)
        c->end = COMMAND_END_EXIT;
}

const char *command_end_name(enum command_end end)
{
    static const char *const names[] = {
        [COMMAND_END_NONE] = "running",
        [COMMAND_END_EXIT] = "exit",
        [COMMAND_END_SIGNAL] = "signal",
        [COMMAND_END_TIMEOUT] = "timeout",
        [COMMAND_END_INTERRUPTED] = "cancelled",
        [COMMAND_END_OOM] = "oom",
        [COMMAND_END_SPAWN_FAILED] = "spawn_failed",
        [COMMAND_END_SHUTDOWN] = "agent_shutdown",
    };

    return names[end];
}

static void append_receipt(struct command *c)
{
    struct strbuf json;

    c->receipt.reason = command_end_name(c->end);
    c->receipt.wall_us = (uint64_t)(clock_monotonic_ns() - c->started_ns) / 1000;
    c->receipt.has_exit_code = c->end != COMMAND_END_SPAWN_FAILED;
    c->receipt.exit_code = c->status.signalled ? -1 : c->status.code;
    c->receipt.signal = c->status.signalled ? c->status.code : 0;
    strbuf_init(&json, 0);
    receipt_json(&c->receipt, &json);
    if (strbuf_check(&json) == 0)
        channel_append(c->channel, EVENT_RECEIPT, json.data, json.len);
    strbuf_done(&json);
}

/* A second line of the traceback says what the first, which clients match on, leaves out. */
static const char *detail(const struct command *c, char *buf, size_t size)
{
    switch (c->end) {
    case COMMAND_END_TIMEOUT:
        snprintf(buf, size, "timeout after %lld ms", (long long)c->timeout_ms);
        return buf;
    case COMMAND_END_OOM:
        return "killed by the kernel: out of memory";
    case COMMAND_END_INTERRUPTED:
        return "interrupted";
    case COMMAND_END_SHUTDOWN:
        return "the agent is shutting down";
    default:
        return NULL;
    }
}

static void append_end(struct command *c)
{
    char text[EXIT_TEXT_MAX], value[16], more[64];

    c->told = true;
    append_receipt(c);
    int64_t elapsed_ms = (int64_t)(c->receipt.wall_us / 1000);
    if (!c->status.signalled && c->status.code == 0) {
        channel_append_number(c->channel, EVENT_EXECUTION_COMPLETE, elapsed_ms);
        return;
    }
    exit_status_text(&c->status, text, sizeof(text));
    c->error = xstrdup(text);
    snprintf(value, sizeof(value), "%d", c->status.signalled ? -1 : c->status.code);
    const char *traceback[] = {text, detail(c, more, sizeof(more)), NULL, NULL};
    if (!c->leader_gone)
        traceback[traceback[1] ? 2 : 1] =
            "it is not dead yet: the system holds one of its processes";
    channel_append_error(c->channel, "CommandExecError", value, traceback);
}

/* What is left of the tree may outlive a leader that ended by itself, unless it was to be swept; behind a timeout or an
 * interrupt it may not: then the leaf and its timer stay until it is empty. */
static void leave_tree(struct command *c)
{
    bool watched = c->leaf != NULL && !c->manager->shutting_down;

    c->killing |= c->sweep;
    if (watched && c->killing && !kill_tree(c))
        return;
    if (watched && c->terminating && !c->killing && !leaf_is_empty(c->leaf))
        return; /* the grace goes on */
    (void)event_del(c->timer);
    free_leaf(c);
}

static void finish(struct command *c)
{
    c->done = true;
    event_active(c->notify, EV_TIMEOUT, 0);
    manager_on_done(c);
}

/* The process and its output are over. What is left is the log: who sees the command finished finds it whole. */
static void close_command(struct command *c)
{
    c->closed = true;
    c->finished_us = clock_wall_us();
    c->closed_ms = clock_monotonic_ms();
    leave_tree(c);
    pidref_done(&c->leader);
    if (c->feed != NULL)
        feed_shut(c->feed);
    if (c->stored)
        finish(c);
}

static void measure(struct command *c)
{
    receipt_measure(&c->receipt, c->leaf, &c->status);
    if (!c->leader_gone && !c->receipt.usage.from_cgroup) /* nobody has waited for it */
        proc_usage_read(c->leader.pid, &c->receipt.usage);
}

static void check_done(struct command *c)
{
    if ((!c->leader_gone && !c->held) || c->pump != NULL || c->closed)
        return;
    if (!c->told) {
        measure(c);
        classify(c);
        append_end(c);
    }
    if (c->leader_gone)
        close_command(c);
}

static void on_log_settled(void *arg)
{
    struct command *c = arg;

    c->stored = true;
    if (c->closed && !c->done)
        finish(c);
}

void command_on_pump_end(void *arg)
{
    struct command *c = arg;

    pump_free(take_ptr(&c->pump));
    check_done(c);
}

void command_on_exit(void *arg, const struct exit_status *status)
{
    struct command *c = arg;

    c->leader_gone = true;
    if (!c->told)
        c->status = *status;
    if (c->pump != NULL)
        pump_leader_exited(c->pump);
    check_done(c);
}

/* --- the beginning --- */

static struct channel *new_channel(const struct command_manager *m,
                                   const struct command_request *request)
{
    struct channel_limits limits = m->config.channel;

    if (limits.retain == 0 && m->config.archive != NULL)
        limits.retain = archive_retain(m->config.archive);
    limits.lossy = request->lossy;
    return channel_new(m->base, &limits);
}

static struct command *command_new(struct command_manager *m, const struct command_request *request)
{
    struct command *c = xnew(struct command);

    ids_hex(c->id);
    c->manager = m;
    c->leader = PIDREF_UNSET;
    c->content = launch_describe(request);
    c->timeout_ms = request->timeout_ms;
    c->background = request->background;
    c->sweep = request->sweep;
    c->stored = true;
    c->channel = new_channel(m, request);
    c->timer = event_new(m->base, -1, 0, on_timer, c);
    c->notify = event_new(m->base, -1, 0, on_notify, c);
    c->started_us = clock_wall_us();
    c->started_ns = clock_monotonic_ns();
    return c;
}

void command_free(struct command *c)
{
    struct command_waiter *w;

    while ((w = c->waiters) != NULL) {
        c->waiters = w->next;
        free(w);
    }
    if (c->leader.pid > 0 && !c->leader_gone)
        reaper_forget(c->leader.pid);
    pidref_done(&c->leader);
    pump_free(c->pump);
    feed_free(c->feed);
    spool_release(c->spool);
    free_leaf(c);
    if (c->timer != NULL)
        event_free(c->timer);
    if (c->notify != NULL)
        event_free(c->notify);
    channel_unref(c->channel);
    free(c->content);
    free(c->error);
    free(c);
}

/* It never ran: the stream says why (contracts/execd.md 2.2). */
static void fail_to_start(struct command *c, const struct err *err)
{
    const char *traceback[] = {err->text, NULL};

    c->leader_gone = true;
    c->status = (struct exit_status){.code = 255};
    c->end = COMMAND_END_SPAWN_FAILED;
    c->error = xstrdup(err->text);
    append_receipt(c);
    channel_append_error(c->channel, "CommandExecError", err->text, traceback);
    pump_free(take_ptr(&c->pump));
    close_command(c);
}

/* A background command answers at once; its own channel goes on without this reader. */
static struct channel *background_ticket(const struct command *c)
{
    struct channel *ticket = channel_new(c->manager->base, NULL);

    channel_append_text(ticket, EVENT_INIT, c->id);
    channel_append_number(ticket, EVENT_EXECUTION_COMPLETE,
                          (clock_monotonic_ns() - c->started_ns) / 1000000);
    return ticket;
}

static int start_log(struct command *c)
{
    if (!c->background || c->manager->config.pool == NULL)
        return 0;
    c->stored = false;
    return spool_new(c->manager->base, c->manager->config.pool, c->channel,
                     c->manager->config.log_max, on_log_settled, c, &c->spool);
}

static int check_request(const struct command_manager *m, const struct command_request *r,
                         struct err *err)
{
    if (m->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "the agent is shutting down");
    if (m->n_running >= m->config.running_max)
        return err_set(err, ERR_TOO_MANY_COMMANDS, EAGAIN,
                       "%u commands are running, which is the limit", m->config.running_max);
    if ((r->command != NULL) == (r->argv.n > 0))
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "exactly one of command and argv is required");
    if (r->has_gid && !r->has_uid)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "uid is required when gid is provided");
    if (r->background && r->lossy)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "backpressure: a background command keeps its whole log");
    return 0;
}

int command_start(struct command_manager *m, const struct command_request *request,
                  struct command **ret_command, struct channel **ret_channel, struct err *err)
{
    struct launch launch;
    struct arena arena;
    struct err spawn_err = {0};

    int rc = check_request(m, request, err);
    if (rc < 0)
        return rc;
    arena_init(&arena);
    rc = launch_prepare(request, &arena, &launch, err);
    if (rc < 0) {
        launch_done(&launch);
        arena_done(&arena);
        return rc;
    }
    struct command *c = command_new(m, request);
    rc = c->timer == NULL || c->notify == NULL ? -ENOMEM : start_log(c);
    if (rc < 0) {
        command_free(c);
        launch_done(&launch);
        arena_done(&arena);
        return err_sys(err, ERR_OUT_OF_MEMORY, -rc, "prepare the command");
    }
    HASH_ADD_STR(m->by_id, id, c);
    DL_APPEND(m->running, c);
    m->n_running++;
    m->counts.started++;
    if (m->config.archive != NULL)
        archive_add(m->config.archive, c->id, c->channel, false);
    events_publish(EVENTS_COMMAND_STARTED,
                   json_pack("{s:s,s:b}", "id", c->id, "background", (int)c->background));
    channel_append_text(c->channel, EVENT_INIT, c->id);
    struct channel *channel =
        channel_ref(c->channel); /* the record drops its own reference at the end */
    if (launch_run(c, request, &launch, &spawn_err) < 0)
        fail_to_start(c, &spawn_err);
    else {
        if (c->timeout_ms > 0)
            arm_timer(c, c->timeout_ms);
        reaper_watch(c->leader.pid, command_on_exit, c);
    }
    launch_done(&launch);
    arena_done(&arena);
    if (request->background && c->end != COMMAND_END_SPAWN_FAILED) {
        channel_unref(channel);
        channel = background_ticket(c);
    }
    *ret_command = c;
    *ret_channel = channel;
    return 0;
}

const char *command_id(const struct command *c)
{
    return c->id;
}

void command_get_status(const struct command *c, struct command_status *ret)
{
    *ret = (struct command_status){
        .id = c->id,
        .content = c->content,
        .running = !c->done,
        .has_exit_code = c->done,
        .exit_code = c->status.signalled ? -1 : c->status.code,
        .error = c->error,
        .started_us = c->started_us,
        .finished_us = c->finished_us,
        .end = c->end,
        .receipt = c->done ? &c->receipt : NULL,
    };
}

struct feed *command_stdin(struct command *c)
{
    return c->feed;
}

const struct spool *command_log(const struct command *c)
{
    return c->spool;
}

bool command_is_background(const struct command *c)
{
    return c->background;
}

int command_interrupt(struct command *c, void (*on_gone)(void *arg), void *arg, struct err *err)
{
    if (c->done)
        return err_set(err, ERR_COMMAND_NOT_RUNNING, ESRCH, "command session %s is not running",
                       c->id);
    struct command_waiter *w = xnew(struct command_waiter);
    *w = (struct command_waiter){.on_gone = on_gone, .arg = arg, .next = c->waiters};
    c->waiters = w;
    command_terminate(c, COMMAND_END_INTERRUPTED, c->manager->config.interrupt_grace_ms);
    return 0;
}

void command_cancel_wait(struct command *c, void *arg)
{
    for (struct command_waiter *w = c->waiters; w != NULL; w = w->next) {
        if (w->arg == arg)
            w->on_gone = NULL;
    }
}
