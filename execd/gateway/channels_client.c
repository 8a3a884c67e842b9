#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "execd/gateway/channels_priv.h"
#include "proto/base/loop_delay.h"
#include "proto/base/str.h"

#define HOLD_AT (1u << 20) /* unsent bytes above which the kernel waits */
#define RETRY_MS 50
/* When the budget of the kernel is spent: who has taken so much does read, for sockets alone do not swallow it; and
 * how often it has to show that it reads on. */
#define SHOWN_MIN (8u << 20)
#define SHOW_MS 250

/* ---- the end, later ---------------------------------------------------------------------------------- */

static void arm(struct channels_client *client, int64_t at_ms)
{
    if (at_ms == client->armed_ms)
        return;
    client->armed_ms = at_ms;
    if (at_ms == INT64_MAX) {
        (void)event_del(client->timer); /* cannot fail for an event of ours */
        return;
    }
    int64_t ms = MAX(at_ms - loop_clock_ms(), (int64_t)0);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    (void)event_add(client->timer, &tv); /* fails only when memory is exhausted */
}

void channels_client_end_soon(struct channels_client *client, enum channels_end why)
{
    client->is_ending = true;
    client->ending = why;
    event_active(client->timer, EV_TIMEOUT, 0);
}

/* ---- bounds ------------------------------------------------------------------------------------------ */

static bool is_alone(const struct channels_client *client)
{
    return channels_n_connected(client->channels, client->ctx) == 1;
}

/* A client that goes on reading may go on holding; one that is alone with the kernel as slowly as it likes. */
static bool reads_on(const struct channels_client *client, int64_t held_ms)
{
    size_t pace = CHANNELS_PACE * (size_t)held_ms / CHANNELS_HOLD_MS;

    return client->taken >= (is_alone(client) ? 1 : pace);
}

/* The time since the last look, which the kernel spent on this client, was well spent, or comes out of its budget. */
static bool account_hold(struct channels_client *client)
{
    int64_t held_ms = loop_clock_ms() - client->hold_start_ms;

    if (reads_on(client, held_ms))
        return true;
    client->shown = 0;
    if (client->code != NULL)
        code_client_charge_hold(client->code, held_ms);
    return false;
}

static void go_on_holding(struct channels_client *client)
{
    bool trusted = is_alone(client) || code_client_may_hold(client->code);

    client->taken = 0;
    client->hold_start_ms = loop_clock_ms();
    client->hold_end_ms = client->hold_start_ms + (trusted ? CHANNELS_HOLD_MS : SHOW_MS);
}

static void start_holding(struct channels_client *client)
{
    client->holds = true;
    go_on_holding(client);
    code_client_hold(client->code, true);
}

static void stop_holding(struct channels_client *client)
{
    client->holds = false;
    client->hold_end_ms = INT64_MAX;
    if (client->code != NULL)
        code_client_hold(client->code, false);
}

void channels_client_release(struct channels_client *client)
{
    if (!client->holds)
        return;
    (void)account_hold(client); /* released in any case */
    stop_holding(client);
}

/* Holding was in vain once: not again before the client has caught up. */
static void update_hold(struct channels_client *client)
{
    size_t unsent = client->outbox.unsent_bytes;

    if (unsent < HOLD_AT / 2) {
        client->has_held = false;
        channels_client_release(client);
    } else if (unsent > HOLD_AT && client->ops != NULL && !client->holds && !client->has_held &&
               client->code != NULL &&
               (client->shown >= SHOWN_MIN || code_client_may_hold(client->code))) {
        start_holding(client);
    }
}

static void check_hold(struct channels_client *client)
{
    if (account_hold(client)) {
        go_on_holding(client);
    } else {
        stop_holding(client);
        client->has_held = true;
    }
}

static void check_bounds(struct channels_client *client)
{
    update_hold(client);
    if (client->ops == NULL || client->is_ending)
        return;
    if (outbox_is_too_full(&client->outbox))
        channels_client_end_soon(client, CHANNELS_TOO_SLOW);
    channels_memory_check(client->channels);
}

void channels_pop(struct channels_client *client, size_t wire_size)
{
    outbox_sent(&client->outbox, wire_size);
    client->taken += wire_size;
    client->shown += wire_size;
    channels_memory_freed(client->channels);
    update_hold(client);
}

/* ---- to the client ----------------------------------------------------------------------------------- */

void channels_client_deliver(void *arg, struct message *m)
{
    struct channels_client *client = arg;

    outbox_put(&client->outbox, m);
}

static void put(struct channels_client *client, struct message *m)
{
    if (m != NULL)
        outbox_put(&client->outbox, m);
    else
        channels_client_end_soon(client, CHANNELS_NO_MEMORY); /* better gone than silent */
}

static void put_status(struct channels_client *client, const char *state)
{
    put(client, message_status((struct slice){0}, state));
}

void channels_client_greet(struct channels_client *client)
{
    enum code_state state = code_context_state(client->ctx);

    client->was_restarted = state == CODE_RESTARTING;
    if (state == CODE_STARTING || state == CODE_DEAD)
        put_status(client, code_state_name(state));
}

/* Says to whose request it belongs, if its parent is better than the rest of it. */
static void put_left_out(struct channels_client *client, const struct jmsg *msg, const char *why)
{
    struct slice parent = msg->parts.parent;
    cleanup_strbuf struct strbuf fixed = {0};
    char text[160];

    if (frame_clean(&parent, &fixed) < 0)
        parent = (struct slice){0};
    (void)snprintf(text, sizeof(text), "\n[a message of type %.64s %s and is left out]\n",
                   msg->type, why); /* fits */
    put(client, message_stderr(parent, text));
}

/* ---- from the client --------------------------------------------------------------------------------- */

static bool is_recent(const struct channels_client *client, const char *id)
{
    for (size_t i = 0; i < CHANNELS_RECENT; i++)
        if (strcmp(client->recent[i], id) == 0)
            return true;
    return false;
}

/* A message that was seen before gets a header of its own, for the kernel would drop it in silence. */
static int make_unique(struct channels_client *client, struct frame *frame)
{
    if (is_recent(client, frame->id))
        return frame_renew(frame);
    memcpy(client->recent[client->next_recent], frame->id, sizeof(frame->id));
    client->next_recent = (client->next_recent + 1) % CHANNELS_RECENT;
    return 0;
}

/* Why its kernel has died; false: it has not. */
static bool find_death(const struct channels_client *client, struct message_fault *ret_fault)
{
    struct code_death death;

    if (!code_context_death(client->ctx, &death))
        return false;
    *ret_fault = (struct message_fault){death.ename, death.evalue, death.last_words};
    return true;
}

static void refuse(struct channels_client *client, const struct frame *frame, const char *why)
{
    struct message_fault fault = {"KernelUnavailable", why, NULL};

    (void)find_death(client, &fault); /* a better reason, if there is one */
    requests_refuse(&client->requests, frame, &fault);
}

/* False: not now. Before the kernel is ready its outputs might be lost: nobody may be listening yet. */
static bool try_send(struct channels_client *client, const struct frame *frame)
{
    enum code_state state = code_context_state(client->ctx);
    struct err err = {0};

    if (state == CODE_STARTING || state == CODE_RESTARTING || !requests_has_room(&client->requests))
        return false;
    int r = code_client_send(client->code, frame->channel, frame->id, &frame->parts, &err);
    if (r == -EAGAIN || (r == -ESRCH && state != CODE_DEAD))
        return false;
    if (r < 0)
        refuse(client, frame, err.text);
    else if (requests_add(&client->requests, frame, loop_clock_ms()) < 0)
        channels_client_end_soon(client, CHANNELS_NO_MEMORY); /* nobody would see to its end */
    return true;
}

static void refuse_kept(struct channels_client *client, const struct message_fault *fault)
{
    struct frame frame;

    message_frame(client->kept, &frame);
    requests_refuse(&client->requests, &frame, fault);
}

static void retry(struct channels_client *client)
{
    struct frame frame;

    if (client->kept == NULL)
        return;
    message_frame(client->kept, &frame);
    if (!try_send(client, &frame)) {
        client->retry_ms = loop_clock_ms() + RETRY_MS;
        return;
    }
    message_free(client->kept);
    client->kept = NULL;
    client->retry_ms = INT64_MAX;
    if (client->ops != NULL)
        client->ops->on_room(client->arg);
}

bool channels_is_full(const struct channels_client *client)
{
    return client->kept != NULL;
}

bool channels_send(struct channels_client *client, struct frame *frame)
{
    if (client->kept != NULL) { /* it was not asked for */
        channels_client_end_soon(client, CHANNELS_TOO_SLOW);
        return false;
    }
    if (make_unique(client, frame) < 0) {
        channels_client_end_soon(client, CHANNELS_NO_MEMORY);
        return false;
    }
    if (!try_send(client, frame)) {
        client->kept = message_keep(frame);
        client->retry_ms = loop_clock_ms() + RETRY_MS;
        if (client->kept == NULL)
            channels_client_end_soon(client, CHANNELS_NO_MEMORY);
        return false;
    }
    channels_client_settle(client);
    return true;
}

/* ---- from the kernel ---------------------------------------------------------------------------------- */

/* What we tell ourselves, or have told: a start (on_state), and the end of a request of this client. */
static bool is_told(const struct channels_client *client, const struct jmsg *msg,
                    const struct message *m)
{
    if (msg->parent_id[0] == '\0')
        return message_has_state(m, "starting");
    return message_has_state(m, "idle") && str_ends(msg->parent_type, "_request") &&
           is_recent(client, msg->parent_id) && !requests_has(&client->requests, msg->parent_id);
}

static void take(struct channels_client *client, const struct jmsg *msg,
                 const struct message_list *list)
{
    const struct message *m;

    TAILQ_FOREACH(m, list, link)
    {
        if (is_told(client, msg, m))
            continue;
        struct message *own = message_share(m);
        if (own != NULL)
            requests_take(&client->requests, own, loop_clock_ms());
        else
            channels_client_end_soon(client, CHANNELS_NO_MEMORY);
    }
}

static void on_message(void *arg, enum kernel_channel channel, const struct jmsg *msg)
{
    struct channels_client *client = arg;
    const struct message_list *list;
    int r = fanout_get(&client->channels->fanout, code_client_serial(client->code), channel, msg,
                       &list);

    if (r == -EBADMSG) {
        put_left_out(client, msg, "was no valid JSON");
    } else if (r < 0) {
        channels_client_end_soon(client, CHANNELS_NO_MEMORY);
    } else {
        take(client, msg, list);
    }
    retry(client);
    channels_client_settle(client);
}

static void on_lost(void *arg, const struct jmsg *msg)
{
    struct channels_client *client = arg;

    if (msg != NULL)
        put_left_out(client, msg, "has too many buffers");
    else
        put(client, message_stderr(
                        requests_current(&client->requests),
                        "\n[output is lost: the kernel has sent a message that is too large]\n"));
    channels_client_settle(client);
}

static void on_ready(struct channels_client *client)
{
    if (client->was_restarted) {
        put_status(client, "starting");
        put_status(client, "idle");
    }
    client->was_restarted = false;
}

static void on_state(void *arg, enum code_state state)
{
    static const struct message_fault restarted = {"KernelRestarted", "the kernel was restarted",
                                                   NULL};
    struct channels_client *client = arg;
    struct message_fault death;

    if (state == CODE_RESTARTING) {
        client->was_restarted = true;
        requests_fail_all(&client->requests, &restarted);
        /* No status says so: to JupyterLab "restarting" means a restart that nobody asked for, after which it connects
         * again, in the middle of its own (contracts/jupyter.md 2.7, "Status fan-out"). */
    } else if (state == CODE_DEAD && find_death(client, &death)) {
        requests_fail_all(&client->requests, &death);
        retry(client); /* what waits to be sent is refused, before the client stops listening */
        put_status(client, "dead");
    } else if (state == CODE_IDLE || state == CODE_BUSY) {
        on_ready(client);
    }
    retry(client);
    channels_client_settle(client);
}

static void on_end(void *arg)
{
    struct channels_client *client = arg;
    struct message_fault why = {"KernelDeleted", "the kernel was deleted", NULL};
    bool died = find_death(client, &why);

    client->code = NULL; /* it is detached */
    requests_fail_all(&client->requests, &why);
    if (client->kept != NULL)
        refuse_kept(client, &why);
    put_status(client, "dead");
    channels_client_end(client, died ? CHANNELS_KERNEL_DIED : CHANNELS_KERNEL_GONE);
}

const struct code_client_ops channels_client_ops = {on_message, on_lost, on_state, on_end};

/* ---- time ---------------------------------------------------------------------------------------------- */

void channels_client_settle(struct channels_client *client)
{
    bool wake = false;
    bool idle = code_context_state(client->ctx) == CODE_IDLE;
    bool held = channels_is_held(client->channels, client->ctx);
    int64_t now = loop_clock_ms();

    if (held)
        requests_postpone(&client->requests, now);
    int64_t next = requests_tick(&client->requests, now, idle && !held, &wake);

    if (wake)
        code_client_nudge(client->code);
    if (client->ops != NULL && outbox_peek(&client->outbox) != NULL)
        client->ops->on_more(client->arg);
    check_bounds(client);
    if (!client->is_ending)
        arm(client,
            MIN(MIN(next, client->retry_ms), MIN(client->hold_end_ms, client->away_end_ms)));
}

void channels_client_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct channels_client *client = arg;
    int64_t now = loop_clock_ms();

    (void)fd;
    (void)what;
    client->armed_ms = INT64_MAX;
    if (client->is_ending) {
        channels_client_end(client, client->ending);
        return;
    }
    if (now >= client->away_end_ms) {
        channels_client_free(client);
        return;
    }
    if (now >= client->hold_end_ms)
        check_hold(client);
    if (now >= client->retry_ms)
        retry(client);
    channels_client_settle(client);
}
