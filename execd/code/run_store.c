#include <event2/event.h>
#include <string.h>

#include "execd/code/output.h"
#include "execd/code/run_priv.h"

#define STORE_HOLD (4u << 20)    /* bytes kept here before the kernel is stopped */
#define STORE_RELEASE (1u << 20) /* and below which it goes on */
#define GATHER_MAX (64u << 10)   /* bytes of small pieces in one event */
#define STORE_MAX (64u << 20)    /* nothing but status is kept above */

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

void run_drop_store(struct code_run *run)
{
    while (run->head)
        pop(run);
}

static void take_status(struct code_run *run, const json_t *content)
{
    const char *state = json_string_value(json_object_get(content, "execution_state"));
    if (state && strcmp(state, "busy") == 0 && run->state == RUN_SENT) {
        run->state = RUN_BUSY;
        patience_stop(&run->timer);
        run_arm_deadline(run);
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

static void take_result(struct code_run *run, const json_t *content)
{
    run->has_result = true;
    output_result(run->channel, content, OUTPUT_RESULT);
}

static void take_display(struct code_run *run, const json_t *content)
{
    output_result(run->channel, content, OUTPUT_DISPLAY);
}

static void take_update(struct code_run *run, const json_t *content)
{
    output_result(run->channel, content, OUTPUT_UPDATE);
}

static void take_clear(struct code_run *run, const json_t *content)
{
    output_clear(run->channel, content);
}

/* True when the message is through. Comms are of no use to a stream. */
static bool show(struct code_run *run, struct kernel_msg *m)
{
    static const struct {
        const char *type;
        void (*take)(struct code_run *run, const json_t *content);
    } rows[] = {
        {"execute_result", take_result},
        {"display_data", take_display},
        {"update_display_data", take_update},
        {"clear_output", take_clear},
        {"error", take_error},
        {"status", take_status},
    };
    const json_t *content = m->msg.content;
    if (strcmp(m->msg.type, "stream") == 0) {
        bool through = output_stream(run->channel, content, &run->offset);
        if (through)
            run_quirks_hear(run, content);
        return through;
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(m->msg.type, rows[i].type) == 0)
            rows[i].take(run, content);
    return true;
}

/* Text of the oldest message when it is a small piece of a stream; empty otherwise. */
static struct slice small_text(struct code_run *run, enum event_type *ret_type)
{
    struct slice text = {0};
    if (run->head && strcmp(run->head->msg.type, "stream") == 0 && run->offset == 0 &&
        kernel_msg_load(run->head) == 0)
        text = output_text(run->head->msg.content, ret_type);
    return text.len <= GATHER_MAX ? text : (struct slice){0};
}

/* Small pieces of one stream that have come together become one event; nothing waits for more. False when there are
 * none. */
static bool gather(struct code_run *run)
{
    struct strbuf together;
    enum event_type type, next;
    struct slice text = small_text(run, &type);
    if (text.len == 0)
        return false;
    strbuf_init(&together, 2 * GATHER_MAX);
    do {
        strbuf_add(&together, text.ptr, text.len);
        run_quirks_hear(run, run->head->msg.content);
        pop(run);
        text = small_text(run, &next);
    } while (text.len > 0 && next == type && together.len + text.len <= GATHER_MAX);
    channel_append(run->channel, type, together.data, together.len);
    strbuf_done(&together);
    return true;
}

static void hold_or_release(struct code_run *run)
{
    if (run->kernel && run->stored > STORE_HOLD && run->told == RUN_NOT_ENDED)
        kernel_hold(run->kernel, KERNEL_HOLD_RUN, true);
    else if (run->kernel && run->stored < STORE_RELEASE)
        kernel_hold(run->kernel, KERNEL_HOLD_RUN, false);
}

static void on_room(void *arg)
{
    struct code_run *run = arg;
    run_pump(run, false);
    run_moved(run);
}

void run_on_arrival(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    if (!run_is_done(arg))
        on_room(arg);
}

void run_pump(struct code_run *run, bool all)
{
    while (run->head && (all || channel_has_room(run->channel))) {
        if (gather(run))
            continue;
        bool broken = kernel_msg_load(run->head) < 0;
        run->n_broken += broken;
        if (broken || show(run, run->head))
            pop(run);
    }
    if (run->head)
        channel_on_room(run->channel, on_room, run);
    hold_or_release(run);
}

void run_take(struct code_run *run, struct kernel_msg *m)
{
    bool full = run->stored > STORE_MAX && strcmp(m->msg.type, "status") != 0 &&
                strcmp(m->msg.type, "error") != 0;
    if (run->state < RUN_SENT || run->state == RUN_DONE || full ||
        strcmp(m->msg.parent_id, run->msg_id) != 0) {
        run->n_dropped += full;
        kernel_msg_free(m);
        return;
    }
    m->next = NULL;
    *run->tail = m;
    run->tail = &m->next;
    run->stored += m->size;
    hold_or_release(run);                      /* now: the rest of a batch may be large */
    event_active(run->arrival, EV_TIMEOUT, 0); /* behind what came with it */
}
