#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "execd/gateway/channels_priv.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"

#define HOLD_AT (1u << 20) /* unsent bytes above which the kernel waits */
#define RETRY_MS 50
/* When the budget of the kernel is spent: who has taken so much does read, for sockets alone do not swallow it; and
 * how often it has to show that it reads on. */
#define SHOWN_MIN (8u << 20)
#define SHOW_MS 250
/* Some clients take 1 MiB at most. A piece of text may grow sixfold by escapes. */
#define SPLIT_AT (512u << 10)
#define PIECE_MAX (128u << 10)
/* What all outboxes may hold together; beyond it each may hold less. */
#define TOTAL_MAX (192u << 20)
#define TIGHT_SHIFT 4

/* ---- the end, later ---------------------------------------------------------------------------------- */

static void arm(struct channels_session *s, int64_t at_ms)
{
    if (at_ms == s->armed_ms)
        return;
    s->armed_ms = at_ms;
    if (at_ms == INT64_MAX) {
        (void)event_del(s->timer); /* cannot fail for an event of ours */
        return;
    }
    int64_t ms = MAX(at_ms - clock_monotonic_ms(), (int64_t)0);
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    (void)event_add(s->timer, &tv); /* fails only when memory is exhausted */
}

/* Not here and now: callers of ours still hold the session. */
static void end_soon(struct channels_session *s, enum channels_end why)
{
    s->is_ending = true;
    s->ending = why;
    event_active(s->timer, EV_TIMEOUT, 0);
}

/* ---- bounds ------------------------------------------------------------------------------------------ */

static void count_bytes(struct channels_session *s)
{
    size_t now = s->outbox.unsent_bytes + s->outbox.kept_bytes;

    s->channels->bytes = s->channels->bytes - s->bytes + now;
    s->bytes = now;
}

static bool is_alone(const struct channels_session *s)
{
    return channels_n_connected(s->channels, s->ctx) == 1;
}

/* A client that goes on reading may go on holding; one that is alone with the kernel as slowly as it likes. */
static bool reads_on(const struct channels_session *s, int64_t held_ms)
{
    size_t pace = CHANNELS_PACE * (size_t)held_ms / CHANNELS_HOLD_MS;

    return s->taken >= (is_alone(s) ? 1 : pace);
}

/* The time since the last look, which the kernel spent on this client, was well spent, or comes out of its budget. */
static bool account_hold(struct channels_session *s)
{
    int64_t held_ms = clock_monotonic_ms() - s->hold_start_ms;

    if (reads_on(s, held_ms))
        return true;
    s->shown = 0;
    if (s->client != NULL)
        code_client_charge_hold(s->client, held_ms);
    return false;
}

static void go_on_holding(struct channels_session *s)
{
    bool trusted = is_alone(s) || code_client_may_hold(s->client);

    s->taken = 0;
    s->hold_start_ms = clock_monotonic_ms();
    s->hold_end_ms = s->hold_start_ms + (trusted ? CHANNELS_HOLD_MS : SHOW_MS);
}

static void start_holding(struct channels_session *s)
{
    s->holds = true;
    go_on_holding(s);
    code_client_hold(s->client, true);
}

static void stop_holding(struct channels_session *s)
{
    s->holds = false;
    s->hold_end_ms = INT64_MAX;
    if (s->client != NULL)
        code_client_hold(s->client, false);
}

void session_release(struct channels_session *s)
{
    if (!s->holds)
        return;
    (void)account_hold(s); /* released in any case */
    stop_holding(s);
}

/* Holding was in vain once: not again before the client has caught up. */
static void update_hold(struct channels_session *s)
{
    size_t unsent = s->outbox.unsent_bytes;

    if (unsent < HOLD_AT / 2) {
        s->has_held = false;
        session_release(s);
    } else if (unsent > HOLD_AT && s->ops != NULL && !s->holds && !s->has_held &&
               s->client != NULL && (s->shown >= SHOWN_MIN || code_client_may_hold(s->client))) {
        start_holding(s);
    }
}

static void check_hold(struct channels_session *s)
{
    if (account_hold(s)) {
        go_on_holding(s);
    } else {
        stop_holding(s);
        s->has_held = true;
    }
}

/* All of them together keep too much: the one that lags behind most goes, whoever has noticed it. */
static void end_slowest(struct channels *c)
{
    struct channels_session *slowest = NULL, *s;

    TAILQ_FOREACH(s, &c->sessions, link)
    if (slowest == NULL || s->outbox.unsent_bytes > slowest->outbox.unsent_bytes)
        slowest = s;
    if (slowest != NULL && !slowest->is_ending &&
        slowest->outbox.unsent_bytes > slowest->outbox.limits.hard_max >> TIGHT_SHIFT)
        end_soon(slowest, CHANNELS_TOO_SLOW);
}

static void check_bounds(struct channels_session *s)
{
    count_bytes(s);
    update_hold(s);
    if (s->ops == NULL || s->is_ending)
        return;
    if (outbox_is_too_full(&s->outbox))
        end_soon(s, CHANNELS_TOO_SLOW);
    if (s->channels->bytes > TOTAL_MAX)
        end_slowest(s->channels);
}

void channels_pop(struct channels_session *s, size_t wire_size)
{
    outbox_sent(&s->outbox, wire_size);
    s->taken += wire_size;
    s->shown += wire_size;
    count_bytes(s);
    update_hold(s);
}

/* ---- to the client ----------------------------------------------------------------------------------- */

void session_deliver(void *arg, struct message *m)
{
    struct channels_session *s = arg;

    outbox_put(&s->outbox, m);
}

static void put(struct channels_session *s, struct message *m)
{
    if (m != NULL)
        outbox_put(&s->outbox, m);
    else
        end_soon(s, CHANNELS_NO_MEMORY); /* better gone than silent */
}

static void put_status(struct channels_session *s, const char *state)
{
    put(s, message_status((struct slice){0}, state));
}

void session_greet(struct channels_session *s)
{
    enum code_state state = code_context_state(s->ctx);

    s->was_restarted = state == CODE_RESTARTING;
    if (state == CODE_STARTING || state == CODE_DEAD)
        put_status(s, code_state_name(state));
}

static void take_piece(struct channels_session *s, const struct message *whole, const char *name,
                       struct slice text)
{
    struct message *piece =
        message_make(CHANNEL_IOPUB, "stream", whole->parts.parent,
                     json_pack("{s:s, s:s%}", "name", name, "text", text.ptr, text.len));

    if (piece == NULL) {
        end_soon(s, CHANNELS_NO_MEMORY);
        return;
    }
    memcpy(piece->parent_id, whole->parent_id, sizeof(piece->parent_id));
    requests_take(&s->requests, piece, clock_monotonic_ms());
}

/* A stream output that is too large for some clients goes in pieces. False: it has to go as it is. */
static bool split_stream(struct channels_session *s, const struct message *m)
{
    struct slice content = m->parts.content;

    if (m->channel != CHANNEL_IOPUB || content.len <= SPLIT_AT || strcmp(m->type, "stream") != 0)
        return false;
    cleanup_json json_t *stream = json_loadb(content.ptr, content.len, JSON_ALLOW_NUL, NULL);
    const json_t *name = json_object_get(stream, "name"), *text = json_object_get(stream, "text");
    if (!json_is_string(name) || !json_is_string(text))
        return false;
    const char *p = json_string_value(text);
    for (size_t left = json_string_length(text), n; left > 0; left -= n, p += n) {
        n = utf8_cut(p, left, PIECE_MAX);
        take_piece(s, m, json_string_value(name), (struct slice){p, n});
    }
    return true;
}

/* Says to whose request it belongs, if its parent is better than the rest of it. */
static void put_left_out(struct channels_session *s, const struct jmsg *msg, const char *why)
{
    struct slice parent = msg->parts.parent;
    cleanup_strbuf struct strbuf fixed = {0};
    char text[160];

    if (frame_clean(&parent, &fixed) < 0)
        parent = (struct slice){0};
    (void)snprintf(text, sizeof(text), "\n[a message of type %.64s %s and is left out]\n",
                   msg->type, why); /* fits */
    put(s, message_stderr(parent, text));
}

/* ---- from the client --------------------------------------------------------------------------------- */

static bool is_recent(const struct channels_session *s, const char *id)
{
    for (size_t i = 0; i < CHANNELS_RECENT; i++)
        if (strcmp(s->recent[i], id) == 0)
            return true;
    return false;
}

/* A message that was seen before gets a header of its own, for the kernel would drop it in silence. */
static int make_unique(struct channels_session *s, struct frame *frame)
{
    if (is_recent(s, frame->id))
        return frame_renew(frame);
    memcpy(s->recent[s->next_recent], frame->id, sizeof(frame->id));
    s->next_recent = (s->next_recent + 1) % CHANNELS_RECENT;
    return 0;
}

/* False: not now. Before the kernel is ready its outputs might be lost: nobody may be listening yet. */
static bool try_send(struct channels_session *s, const struct frame *frame)
{
    enum code_state state = code_context_state(s->ctx);
    struct err err = {0};

    if (state == CODE_STARTING || state == CODE_RESTARTING || !requests_has_room(&s->requests))
        return false;
    int r = code_client_send(s->client, frame->channel, frame->id, &frame->parts, &err);
    if (r == -EAGAIN || (r == -ESRCH && state != CODE_DEAD))
        return false;
    if (r < 0)
        requests_refuse(&s->requests, frame, "KernelUnavailable", err.text);
    else if (requests_add(&s->requests, frame, clock_monotonic_ms()) < 0)
        end_soon(s, CHANNELS_NO_MEMORY); /* nobody would see to its end */
    return true;
}

static void refuse_kept(struct channels_session *s, const char *ename, const char *evalue)
{
    struct frame frame;

    message_frame(s->kept, &frame);
    requests_refuse(&s->requests, &frame, ename, evalue);
}

static void retry(struct channels_session *s)
{
    struct frame frame;

    if (s->kept == NULL)
        return;
    message_frame(s->kept, &frame);
    if (!try_send(s, &frame)) {
        s->retry_ms = clock_monotonic_ms() + RETRY_MS;
        return;
    }
    message_free(s->kept);
    s->kept = NULL;
    s->retry_ms = INT64_MAX;
    if (s->ops != NULL)
        s->ops->on_room(s->arg);
}

bool channels_is_full(const struct channels_session *s)
{
    return s->kept != NULL;
}

bool channels_send(struct channels_session *s, struct frame *frame)
{
    if (s->kept != NULL) { /* it was not asked for */
        end_soon(s, CHANNELS_TOO_SLOW);
        return false;
    }
    if (make_unique(s, frame) < 0) {
        end_soon(s, CHANNELS_NO_MEMORY);
        return false;
    }
    if (!try_send(s, frame)) {
        s->kept = message_keep(frame);
        s->retry_ms = clock_monotonic_ms() + RETRY_MS;
        if (s->kept == NULL)
            end_soon(s, CHANNELS_NO_MEMORY);
        return false;
    }
    session_settle(s);
    return true;
}

/* ---- from the kernel ---------------------------------------------------------------------------------- */

/* What we tell ourselves, or have told: a start (on_state), and the end of a request of this client. */
static bool is_told(const struct channels_session *s, const struct jmsg *msg,
                    const struct message *m)
{
    if (msg->parent_id[0] == '\0')
        return message_has_state(m, "starting");
    return message_has_state(m, "idle") && str_ends(msg->parent_type, "_request") &&
           is_recent(s, msg->parent_id) && !requests_has(&s->requests, msg->parent_id);
}

static void on_message(void *arg, enum kernel_channel channel, const struct jmsg *msg)
{
    struct channels_session *s = arg;
    struct message *m;
    int r = message_copy(channel, msg, &m);

    if (r == -EBADMSG) {
        put_left_out(s, msg, "was no valid JSON");
    } else if (r < 0) {
        end_soon(s, CHANNELS_NO_MEMORY);
    } else if (is_told(s, msg, m) || split_stream(s, m)) {
        message_free(m);
    } else {
        requests_take(&s->requests, m, clock_monotonic_ms());
    }
    retry(s);
    session_settle(s);
}

static void on_lost(void *arg, const struct jmsg *msg)
{
    struct channels_session *s = arg;

    if (msg != NULL)
        put_left_out(s, msg, "has too many buffers");
    else
        put(s, message_stderr(
                   requests_current(&s->requests),
                   "\n[output is lost: the kernel has sent a message that is too large]\n"));
    session_settle(s);
}

static void on_ready(struct channels_session *s)
{
    if (s->was_restarted) {
        put_status(s, "starting");
        put_status(s, "idle");
    }
    s->was_restarted = false;
}

static void on_state(void *arg, enum code_state state, const char *reason)
{
    struct channels_session *s = arg;

    if (state == CODE_RESTARTING) {
        s->was_restarted = true;
        requests_fail_all(&s->requests, "KernelRestarted", "the kernel was restarted");
        /* No status says so: to JupyterLab "restarting" means a restart that nobody asked for, after which it connects
         * again, in the middle of its own (contracts/jupyter.md 2.7, "Status fan-out"). */
    } else if (state == CODE_DEAD) {
        requests_fail_all(&s->requests, "KernelDied", reason);
        put_status(s, "dead");
    } else if (state == CODE_IDLE || state == CODE_BUSY) {
        on_ready(s);
    }
    retry(s);
    session_settle(s);
}

static void on_end(void *arg, const char *reason)
{
    struct channels_session *s = arg;

    s->client = NULL; /* it is detached */
    requests_fail_all(&s->requests, "KernelDeleted", reason);
    if (s->kept != NULL)
        refuse_kept(s, "KernelDeleted", reason);
    put_status(s, "dead");
    session_end(s, CHANNELS_KERNEL_GONE);
}

const struct code_client_ops session_client_ops = {on_message, on_lost, on_state, on_end};

/* ---- time ---------------------------------------------------------------------------------------------- */

void session_settle(struct channels_session *s)
{
    bool wake = false;
    bool idle = code_context_state(s->ctx) == CODE_IDLE;
    int64_t now = clock_monotonic_ms();

    if (channels_is_held(s->channels, s->ctx))
        requests_postpone(&s->requests, now);
    int64_t next = requests_tick(&s->requests, now, idle, &wake);

    if (wake)
        code_client_nudge(s->client);
    if (s->ops != NULL && outbox_peek(&s->outbox) != NULL)
        s->ops->on_more(s->arg);
    check_bounds(s);
    if (!s->is_ending)
        arm(s, MIN(MIN(next, s->retry_ms), MIN(s->hold_end_ms, s->away_end_ms)));
}

void session_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct channels_session *s = arg;
    int64_t now = clock_monotonic_ms();

    (void)fd;
    (void)what;
    s->armed_ms = INT64_MAX;
    if (s->is_ending) {
        session_end(s, s->ending);
        return;
    }
    if (now >= s->away_end_ms) {
        session_free(s);
        return;
    }
    if (now >= s->hold_end_ms)
        check_hold(s);
    if (now >= s->retry_ms)
        retry(s);
    session_settle(s);
}
