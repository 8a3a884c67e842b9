#include "execd/code/run.h"

#include <event2/event.h>
#include <string.h>

#include "execd/code/context.h"
#include "execd/code/run_priv.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

#define NO_REPLY_MS 500
#define NO_IDLE_MS 2000
#define LOST_IDLE_MS 200 /* the connection broke: the idle most likely went with it */
/* These are times of silence in which nobody who could still break it had something to do: where the CPU is short, what
 * is owed takes its time. Looked at so often, and not for ever: a cell's threads may go on. */
#define LOOK_MS 100
#define OWED_LOOKS 300

static const int nudge_ms[] = {250, 1000, 4000}; /* waits between the nudges */

static void on_timer(evutil_socket_t fd, short what, void *arg);
static void on_deadline(evutil_socket_t fd, short what, void *arg);

struct code_run *run_new(struct event_base *base, const struct channel_limits *limits,
                         const char *context_id, const struct code_run_request *request,
                         void (*on_change)(void *arg), void *arg)
{
    struct code_run *run = xnew(struct code_run);
    run->tail = &run->head;
    run->timeout_ms = request->timeout_ms;
    run->on_change = on_change;
    run->arg = arg;
    run->size = strlen(request->code) + (request->input ? strlen(request->input) : 0);
    run->code = strdup(request->code);
    run->input = request->input ? strdup(request->input) : NULL;
    run->arrival = event_new(base, -1, 0, run_on_arrival, run);
    if (!patience_init(&run->timer, base, on_timer, run) ||
        !patience_init(&run->deadline, base, on_deadline, run) || !run->code || !run->arrival ||
        (request->input && !run->input)) {
        run->state = RUN_DONE; /* it has no channel that could tell */
        run_free(run);
        return NULL;
    }
    run->channel = channel_new(base, limits);
    channel_append_text(run->channel, EVENT_INIT, context_id);
    return run;
}

void run_free(struct code_run *run)
{
    static const struct run_failure given_up = {RUN_END_CANCELLED, "ExecutionAborted",
                                                "the run was given up", NULL};
    if (!run)
        return;
    run_fail(run, &given_up);
    patience_done(&run->timer);
    patience_done(&run->deadline);
    if (run->arrival)
        event_free(run->arrival);
    free(run->code);
    free(run->input);
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

bool run_is_sent(const struct code_run *run)
{
    return run->state > RUN_RESTING;
}

const char *run_request(const struct code_run *run)
{
    return run->msg_id;
}

bool run_failed(const struct code_run *run)
{
    return run->failed;
}

int64_t run_start_ns(const struct code_run *run)
{
    return run->started_ns;
}

bool run_is_overdue(const struct code_run *run)
{
    return run->overdue && run->told == RUN_NOT_ENDED;
}

size_t run_size(const struct code_run *run)
{
    return run->size;
}

struct code_run *run_next(const struct code_run *run)
{
    return run->next;
}

void run_set_next(struct code_run *run, struct code_run *next)
{
    run->next = next;
}

void run_set_interrupted(struct code_run *run, enum run_end why)
{
    if (run->told == RUN_NOT_ENDED)
        run->told = why;
}

void run_output_lost(struct code_run *run)
{
    run->lost = true;
}

/* ---- course -------------------------------------------------------------------------------------- */

static void await(struct code_run *run, int ms)
{
    run->patience_ms = ms;
    run->quiet_ms = 0;
    run->owed_looks = OWED_LOOKS;
    patience_start(&run->timer, LOOK_MS);
}

/* What await waits for may still come. */
static bool is_owed(struct code_run *run)
{
    bool at_work = run->kernel && kernel_is_at_work(run->kernel);
    run->quiet_ms = at_work ? 0 : run->quiet_ms + LOOK_MS;
    if (run->quiet_ms >= run->patience_ms || --run->owed_looks <= 0)
        return false;
    patience_start(&run->timer, LOOK_MS);
    return true;
}

/* Looks whether the run is over, or else what it still waits for. */
static void judge(struct code_run *run)
{
    if (run->state == RUN_DONE || run->head)
        return;
    if (run->reply && run->idle) {
        run_quirks_drain(run);
        int wait_ms = run_quirks_wait_ms(run);
        if (wait_ms > 0)
            await(run, wait_ms);
        else if (!run->head)
            run_conclude(run);
    } else if (run->idle) {
        await(run, NO_REPLY_MS);
    } else if (run->reply) {
        await(run, run->lost ? LOST_IDLE_MS : NO_IDLE_MS);
    }
}

void run_moved(struct code_run *run)
{
    judge(run);
    run->on_change(run->arg);
}

void run_take_reply(struct code_run *run, const struct jmsg *msg)
{
    struct jmsg reply = *msg;
    if (run->state < RUN_SENT || run->state == RUN_DONE || run->reply ||
        strcmp(msg->type, "execute_reply") != 0 || strcmp(msg->parent_id, run->msg_id) != 0)
        return;
    reply.content = NULL;
    run->reply = jmsg_load(&reply) == 0 ? reply.content : json_object();
    judge(run);
}

/* A line of the input without its end; behind the last one, what IPython takes for the end of a file. */
static struct slice next_line(struct code_run *run)
{
    const char *line = run->input + run->input_at;
    size_t len = strcspn(line, "\n");
    if (!line[0])
        return (struct slice){"\x04", 1};
    run->input_at += len + (line[len] == '\n');
    return (struct slice){line, len};
}

bool run_answer(struct code_run *run, const struct jmsg *question)
{
    if (!run->input || !run->kernel || strcmp(question->parent_id, run->msg_id) != 0)
        return false;
    kernel_answer(run->kernel, question, next_line(run));
    return true;
}

/* ---- time --------------------------------------------------------------------------------------- */

static void send_code(struct code_run *run)
{
    static const struct run_failure not_sent = {
        RUN_END_ERROR, "KernelProtocolError",
        "EXECD_001: the request could not be sent to the kernel", NULL};
    int r = kernel_execute(run->kernel, run->code, run->input != NULL, run->msg_id);
    free(run->code);
    run->code = NULL;
    run->state = RUN_SENT;
    if (r < 0)
        run_fail(run, &not_sent);
    else
        patience_start(&run->timer, nudge_ms[0]);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    static const struct run_failure no_reply = {RUN_END_ERROR, "KernelProtocolError",
                                                "EXECD_001: the kernel went idle without a reply",
                                                NULL};
    (void)fd;
    (void)what;
    struct code_run *run = arg;
    if (!patience_is_over(&run->timer))
        return;
    if (run->state == RUN_RESTING) {
        send_code(run);
    } else if (run->reply && !run->idle && run->head) {
        return; /* its idle may be behind that: awaited anew once the reader has taken it */
    } else if ((run->reply || run->idle) && is_owed(run)) {
        return;
    } else if (run->reply && !run->idle) {
        run->lost = true;
        run_conclude(run);
    } else if (run->reply) {
        judge(run); /* it has waited for a late result */
    } else if (run->idle) {
        run_fail(run, &no_reply);
    } else if (run->state == RUN_SENT && run->n_nudges < ARRAY_LEN(nudge_ms)) {
        kernel_nudge(run->kernel);
        if (++run->n_nudges < ARRAY_LEN(nudge_ms))
            patience_start(&run->timer, nudge_ms[run->n_nudges]);
    }
    run->on_change(run->arg);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct code_run *run = arg;
    if (!patience_is_over(&run->deadline))
        return;
    run->overdue = true;
    run->on_change(run->arg);
}

void run_arm_deadline(struct code_run *run)
{
    run->overdue = false;
    if (run->timeout_ms > 0)
        patience_start(&run->deadline, run->timeout_ms);
}

static void rest_and_send(struct code_run *run)
{
    int rest_ms = kernel_rest_left(run->kernel);
    kernel_usage(run->kernel, &run->before); /* what another's cell has used is not its */
    run->started_ns = clock_monotonic_ns();
    if (rest_ms > 0)
        patience_start(&run->timer, rest_ms);
    else
        send_code(run);
}

void run_send(struct code_run *run)
{
    if (run->state != RUN_RESTING || !run->waits)
        return;
    run->waits = false;
    rest_and_send(run);
}

void run_begin(struct code_run *run, struct kernel *kernel, bool wait)
{
    run->kernel = kernel;
    run_quirks_begin(run);
    run_arm_deadline(run);
    run->state = RUN_RESTING;
    run->waits = wait;
    if (!wait)
        rest_and_send(run);
}
