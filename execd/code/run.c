#include "execd/code/run.h"

#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "execd/code/output.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

#define STORE_HOLD (4u << 20)    /* bytes kept here before the kernel is stopped */
#define STORE_RELEASE (1u << 20) /* and below which it goes on */
#define STORE_MAX (64u << 20)    /* nothing but status is kept above */
#define NO_REPLY_MS 500
#define NO_IDLE_MS 2000
#define LOST_IDLE_MS 200 /* the connection broke: the idle most likely went with it */

static const int nudge_ms[] = {250, 1000, 4000}; /* waits between the nudges */

enum run_state { RUN_QUEUED, RUN_SENT, RUN_BUSY, RUN_DONE };

struct code_run {
    enum run_state state;
    struct channel *channel; /* ref */
    char *code;              /* owned; NULL once sent */
    struct kernel *kernel;   /* borrowed from the context, while it runs */
    char msg_id[JMSG_ID_MAX];
    int64_t started_ms;
    struct event *timer; /* owned */
    void (*on_change)(void *arg);
    void *arg;
    struct kernel_msg *head, **tail; /* outputs not shown yet, owned */
    size_t stored, offset;           /* bytes in the list; bytes shown of its head */
    uint64_t n_dropped;
    json_t *error; /* owned; last error message, its place in the stream still open */
    json_t *reply; /* owned; content of the reply */
    bool idle, lost, failed;
    bool interrupted; /* no longer held back: a stopped kernel cannot react */
    unsigned n_nudges;
    struct code_run *next; /* for the context */
};

static void on_timer(evutil_socket_t fd, short what, void *arg);

struct code_run *run_new(struct event_base *base, const struct channel_limits *limits,
                         const char *context_id, const char *code, void (*on_change)(void *arg),
                         void *arg)
{
    char *copy = strdup(code);
    if (!copy)
        return NULL;
    struct code_run *run = xnew(struct code_run);
    run->timer = evtimer_new(base, on_timer, run);
    if (!run->timer) {
        free(copy);
        free(run);
        return NULL;
    }
    run->code = copy;
    run->tail = &run->head;
    run->on_change = on_change;
    run->arg = arg;
    run->channel = channel_new(base, limits);
    channel_append_text(run->channel, EVENT_INIT, context_id);
    return run;
}

static void drop_store(struct code_run *run)
{
    while (run->head) {
        struct kernel_msg *m = run->head;
        run->head = m->next;
        kernel_msg_free(m);
    }
    run->tail = &run->head;
    run->stored = run->offset = 0;
}

void run_free(struct code_run *run)
{
    if (!run)
        return;
    run_fail(run, "ExecutionAborted", "the run was given up", NULL);
    event_free(run->timer);
    json_decref(run->error);
    json_decref(run->reply);
    channel_unref(run->channel);
    free(run);
}

struct channel *run_channel(struct code_run *run)
{
    return run->channel;
}

bool run_is_done(const struct code_run *run)
{
    return run->state == RUN_DONE;
}

bool run_is_busy(const struct code_run *run)
{
    return run->state == RUN_BUSY;
}

bool run_failed(const struct code_run *run)
{
    return run->failed;
}

struct code_run *run_next(const struct code_run *run)
{
    return run->next;
}

void run_set_next(struct code_run *run, struct code_run *next)
{
    run->next = next;
}

static void arm(struct code_run *run, int ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    (void)event_add(run->timer, &tv); /* fails only when memory is exhausted */
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* Leaves every resource; the terminal event is the caller's. */
static void finish(struct code_run *run, bool failed)
{
    run->state = RUN_DONE;
    run->failed = failed;
    (void)event_del(run->timer); /* cannot fail for an event of ours */
    channel_on_room(run->channel, NULL, NULL);
    drop_store(run);
    free(run->code);
    run->code = NULL;
    if (run->kernel)
        kernel_hold(run->kernel, KERNEL_HOLD_RUN, false);
    run->kernel = NULL;
}

static void say(struct code_run *run, const char *text)
{
    channel_append(run->channel, EVENT_STDERR, text, strlen(text));
}

static void say_losses(struct code_run *run)
{
    char text[128];
    if (run->lost)
        say(run, "[execd] output may be missing: a message of the kernel was over 32 MiB or never "
                 "came\n");
    if (run->n_dropped > 0) {
        (void)snprintf(text, sizeof(text),
                       "[execd] %llu messages of the kernel were dropped: too much output\n",
                       (unsigned long long)run->n_dropped); /* fits */
        say(run, text);
    }
}

static bool status_is(const json_t *reply, const char *status)
{
    const char *value = json_string_value(json_object_get(reply, "status"));
    return value && strcmp(value, status) == 0;
}

static void end_with(struct channel *ch, const char *ename, const char *evalue, const char *detail)
{
    const char *traceback[] = {evalue, detail && detail[0] ? detail : NULL, NULL};
    channel_append_error(ch, ename, evalue, traceback);
}

/* Both reply and idle (or their watchdog) are in: exactly one terminal event. */
static void conclude(struct code_run *run)
{
    struct channel *ch = run->channel;
    output_payloads(ch, run->reply);
    say_losses(run);
    if (status_is(run->reply, "ok")) {
        /* Shown by the user's own code: a traceback, but not the end of the run. */
        if (run->error)
            output_error_as_text(ch, run->error);
        channel_append_number(ch, EVENT_EXECUTION_COMPLETE, clock_monotonic_ms() - run->started_ms);
        finish(run, false);
        return;
    }
    if (run->error) {
        output_error(ch, run->error);
    } else if (status_is(run->reply, "error")) {
        json_t *error = output_error_object(run->reply);
        output_error(ch, error);
        json_decref(error);
    } else if (status_is(run->reply, "aborted") || status_is(run->reply, "abort")) {
        if (run->interrupted) /* R and bash answer an interrupt so */
            end_with(ch, "KeyboardInterrupt", "the run was interrupted", NULL);
        else
            end_with(ch, "ExecutionAborted", "the kernel aborted the run", NULL);
    } else {
        end_with(ch, "KernelProtocolError", "the kernel's reply has no known status", NULL);
    }
    finish(run, true);
}

static void pump(struct code_run *run, bool all);

void run_fail(struct code_run *run, const char *ename, const char *evalue, const char *detail)
{
    if (run->state == RUN_DONE)
        return;
    pump(run, true);
    if (run->reply && run->idle) { /* it had ended, only its reader was behind */
        conclude(run);
        return;
    }
    run->lost = false; /* a kernel that dies breaks its connection, too */
    say_losses(run);
    if (run->error)
        output_error_as_text(run->channel, run->error);
    end_with(run->channel, ename, evalue, detail);
    finish(run, true);
}

/* ---- outputs ------------------------------------------------------------------------------------ */

static void take_status(struct code_run *run, const json_t *content)
{
    const char *state = json_string_value(json_object_get(content, "execution_state"));
    if (state && strcmp(state, "busy") == 0 && run->state == RUN_SENT) {
        run->state = RUN_BUSY;
        (void)event_del(run->timer); /* cannot fail for an event of ours */
    } else if (state && strcmp(state, "idle") == 0) {
        run->idle = true;
    }
}

static void take_error(struct code_run *run, const json_t *content)
{
    if (run->error)
        output_error_as_text(run->channel, run->error);
    json_decref(run->error);
    run->error = output_error_object(content);
}

/* True when the message is through. clear_output is dropped: a stream has nothing to clear. Comms too. */
static bool show(struct code_run *run, struct kernel_msg *m)
{
    const char *type = m->msg.type;
    const json_t *content = m->msg.content;
    if (strcmp(type, "stream") == 0)
        return output_stream(run->channel, content, &run->offset);
    if (strcmp(type, "execute_result") == 0)
        output_result(run->channel, content, true);
    else if (strcmp(type, "display_data") == 0 || strcmp(type, "update_display_data") == 0)
        output_result(run->channel, content, false);
    else if (strcmp(type, "error") == 0)
        take_error(run, content);
    else if (strcmp(type, "status") == 0)
        take_status(run, content);
    return true;
}

static void pop(struct code_run *run)
{
    struct kernel_msg *m = run->head;
    run->head = m->next;
    if (!run->head)
        run->tail = &run->head;
    run->stored -= m->size;
    run->offset = 0;
    kernel_msg_free(m);
}

static void on_room(void *arg);

/* Shows what the channel has room for; `all` regardless of room, before a forced end. */
static void pump(struct code_run *run, bool all)
{
    while (run->head && (all || channel_has_room(run->channel))) {
        if (kernel_msg_load(run->head) < 0 || show(run, run->head))
            pop(run);
    }
    if (run->head)
        channel_on_room(run->channel, on_room, run);
    if (run->kernel && run->stored > STORE_HOLD && !run->interrupted)
        kernel_hold(run->kernel, KERNEL_HOLD_RUN, true);
    else if (run->kernel && run->stored < STORE_RELEASE)
        kernel_hold(run->kernel, KERNEL_HOLD_RUN, false);
}

/* Looks whether the run is over, or else what it still waits for. */
static void judge(struct code_run *run)
{
    if (run->state == RUN_DONE || run->head)
        return;
    if (run->reply && run->idle)
        conclude(run);
    else if (run->idle)
        arm(run, NO_REPLY_MS);
    else if (run->reply)
        arm(run, run->lost ? LOST_IDLE_MS : NO_IDLE_MS);
}

static void on_room(void *arg)
{
    struct code_run *run = arg;
    pump(run, false);
    judge(run);
    run->on_change(run->arg);
}

void run_take(struct code_run *run, struct kernel_msg *m)
{
    bool full = run->stored > STORE_MAX && strcmp(m->msg.type, "status") != 0 &&
                strcmp(m->msg.type, "error") != 0;
    if (run->state == RUN_QUEUED || run->state == RUN_DONE || full ||
        strcmp(m->msg.parent_id, run->msg_id) != 0) {
        run->n_dropped += full;
        kernel_msg_free(m);
        return;
    }
    m->next = NULL;
    *run->tail = m;
    run->tail = &m->next;
    run->stored += m->size;
    pump(run, false);
    judge(run);
}

void run_take_reply(struct code_run *run, const struct jmsg *msg)
{
    struct jmsg reply = *msg;
    if (run->state == RUN_QUEUED || run->state == RUN_DONE || run->reply ||
        strcmp(msg->type, "execute_reply") != 0 || strcmp(msg->parent_id, run->msg_id) != 0)
        return;
    reply.content = NULL;
    run->reply = jmsg_load(&reply) == 0 ? reply.content : json_object();
    judge(run);
}

void run_set_interrupted(struct code_run *run)
{
    run->interrupted = true;
}

void run_output_lost(struct code_run *run)
{
    run->lost = true;
}

/* ---- time --------------------------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct code_run *run = arg;
    if (run->reply && !run->idle) {
        run->lost = true;
        conclude(run);
    } else if (run->idle) {
        run_fail(run, "KernelProtocolError", "EXECD_001: the kernel went idle without a reply",
                 NULL);
    } else if (run->state == RUN_SENT && run->n_nudges < ARRAY_LEN(nudge_ms)) {
        kernel_nudge(run->kernel);
        if (++run->n_nudges < ARRAY_LEN(nudge_ms))
            arm(run, nudge_ms[run->n_nudges]);
    }
    run->on_change(run->arg);
}

void run_begin(struct code_run *run, struct kernel *kernel)
{
    run->kernel = kernel;
    run->started_ms = clock_monotonic_ms();
    int r = kernel_execute(kernel, run->code, run->msg_id);
    free(run->code);
    run->code = NULL;
    run->state = RUN_SENT;
    if (r < 0)
        run_fail(run, "KernelProtocolError",
                 "EXECD_001: the request could not be sent to the kernel", NULL);
    else
        arm(run, nudge_ms[0]);
}
