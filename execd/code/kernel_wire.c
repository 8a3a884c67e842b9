#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "execd/code/kernel_priv.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

#define IOPUB_WAITING_MAX 16 /* messages, of a kernel that never drops any */

void kernel_msg_free(struct kernel_msg *m)
{
    if (!m)
        return;
    jmsg_done(&m->msg);
    zmsg_free(m->frames);
    free(m);
}

int kernel_msg_load(struct kernel_msg *m)
{
    if (m->broken)
        return -EBADMSG;
    int r = jmsg_load(&m->msg);
    m->broken = r < 0;
    zmsg_free(m->frames);
    m->frames = NULL;
    m->msg.parts = (struct jmsg_parts){0}; /* they pointed into the frames */
    return r;
}

/* ---- sending ---------------------------------------------------------------------------------- */

int kernel_send(struct kernel *k, enum kernel_channel channel, const char *type,
                struct slice parent, json_t *content, char *ret_id)
{
    struct jmsg_out out;
    int r = content ? jmsg_build(&k->session, type, parent, content, &out) : -ENOMEM;
    json_decref(content);
    if (r < 0)
        return r;
    r = k->channels[channel] ? zsock_send(k->channels[channel], out.frames, JMSG_OUT_FRAMES)
                             : -ESHUTDOWN;
    if (r >= 0 && ret_id)
        memcpy(ret_id, out.id, JMSG_ID_MAX);
    jmsg_out_done(&out);
    return r;
}

int kernel_send_parts(struct kernel *k, enum kernel_channel channel, const struct jmsg_parts *parts)
{
    char signature[65];
    struct slice frames[JMSG_OUT_FRAMES + JMSG_BUFFERS_MAX];
    if (parts->n_buffers > JMSG_BUFFERS_MAX)
        return -EMSGSIZE;
    if (!k->channels[channel])
        return -ESHUTDOWN;
    return zsock_send(k->channels[channel], frames,
                      jmsg_sign(&k->session, parts, signature, frames));
}

void kernel_nudge(struct kernel *k)
{
    /* A full queue means that there is enough to wake it up. */
    (void)!kernel_send(k, CHANNEL_SHELL, "kernel_info_request", (struct slice){0}, json_object(),
                       NULL);
}

int kernel_execute(struct kernel *k, const char *code, bool may_ask, char ret_id[JMSG_ID_MAX])
{
    /* stop_on_error false: a failing run must not abort the next one (contracts/jupyter.md 1.9). */
    json_t *content =
        json_pack("{s:s, s:b, s:b, s:{}, s:b, s:b}", "code", code, "silent", 0, "store_history", 1,
                  "user_expressions", "allow_stdin", may_ask, "stop_on_error", 0);
    int r = kernel_send(k, CHANNEL_SHELL, "execute_request", (struct slice){0}, content, ret_id);
    if (r >= 0)
        memcpy(k->executing, ret_id, sizeof(k->executing));
    return r;
}

/* ---- receiving --------------------------------------------------------------------------------- */

bool kernel_is_work(const char *type)
{
    static const char *const quiet[] = {"kernel_info_request",     "comm_info_request",
                                        "shutdown_request",        "interrupt_request",
                                        "debug_request",           "history_request",
                                        "create_subshell_request", "delete_subshell_request",
                                        "list_subshell_request",   "usage_request"};
    for (size_t i = 0; i < ARRAY_LEN(quiet); i++)
        if (strcmp(type, quiet[i]) == 0)
            return false;
    return true;
}

/* The second status of a request is its end: an interrupt that was for it must not hit the next one. What is answered on
 * control meanwhile is neither. */
static void note_status(struct kernel *k, const struct jmsg *msg)
{
    if (!kernel_is_work(msg->parent_type))
        return;
    bool ended = strcmp(k->status_of, msg->parent_id) == 0;
    if (ended)
        (void)event_del(k->interrupt); /* cannot fail for an event of ours */
    k->status_ms = clock_monotonic_ms();
    (void)snprintf(k->status_of, sizeof(k->status_of), "%s",
                   ended ? "" : msg->parent_id); /* one length */
}

/* Parsed and shown to the observer; *ret_seen: somebody took it there. NULL: it is no message. */
static struct kernel_msg *receive(struct kernel *k, enum kernel_channel channel,
                                  struct zmsg *frames, bool *ret_seen)
{
    struct slice parts[ZMSG_FRAMES_MAX];
    struct kernel_msg *m = xnew(struct kernel_msg);
    size_t n = MIN(zmsg_count(frames), (size_t)ZMSG_FRAMES_MAX);
    for (size_t i = 0; i < n; i++)
        parts[i] = zmsg_frame(frames, i);
    m->frames = frames;
    m->size = zmsg_size(frames) + sizeof(*m);
    if (jmsg_parse(parts, n, &k->session, &m->msg, NULL) < 0) {
        k->host->frames_dropped++;
        kernel_msg_free(m);
        return NULL;
    }
    if (channel == CHANNEL_IOPUB && strcmp(m->msg.type, "status") == 0)
        note_status(k, &m->msg);
    *ret_seen = !zmsg_is_cut(frames) && k->ops->on_message(k->arg, channel, &m->msg);
    if (zmsg_is_cut(frames)) {
        k->host->frames_dropped++;
        if (channel == CHANNEL_IOPUB)
            k->ops->on_output_lost(k->arg, &m->msg);
    }
    m->msg.parts.buffers = NULL; /* their list is gone with this function */
    m->msg.parts.n_buffers = 0;
    return m;
}

bool kernel_is_own(const struct kernel *k, const char *msg_id)
{
    return strncmp(msg_id, k->session.id, strlen(k->session.id)) == 0;
}

/* The first reply tells what it is; the others were nudges. */
static void learn(struct kernel *k, struct kernel_msg *m)
{
    if (!k->info_seen && kernel_msg_load(m) == 0)
        kernel_info_read(m->msg.content, &k->info);
    k->info_seen = true;
}

static void on_shell(void *arg, struct zmsg *frames)
{
    struct kernel *k = arg;
    bool seen;
    struct kernel_msg *m = receive(k, CHANNEL_SHELL, frames, &seen);
    if (m && strcmp(m->msg.type, "kernel_info_reply") == 0) {
        learn(k, m);
        kernel_check_ready(k);
    } else if (m && !seen && k->state != KERNEL_STARTING) {
        k->ops->on_reply(k->arg, &m->msg);
    }
    kernel_msg_free(m);
}

static void on_iopub(void *arg, struct zmsg *frames)
{
    struct kernel *k = arg;
    bool seen;
    struct kernel_msg *m = receive(k, CHANNEL_IOPUB, frames, &seen);
    if (!m)
        return;
    bool ours = kernel_is_own(k, m->msg.parent_id);
    if (ours || strcmp(m->msg.type, "iopub_welcome") == 0)
        k->iopub_seen = true;
    if (k->state == KERNEL_STARTING || !ours)
        kernel_msg_free(m);
    else
        k->ops->on_iopub(k->arg, m);
    kernel_check_ready(k);
}

void kernel_answer(struct kernel *k, const struct jmsg *question, struct slice line)
{
    json_t *content = json_pack("{s:s%}", "value", line.ptr ? line.ptr : "", line.len);
    (void)!kernel_send(k, CHANNEL_STDIN, "input_reply", question->parts.header, content,
                       NULL); /* nothing else can be done for it */
}

static void on_stdin(void *arg, struct zmsg *frames)
{
    struct kernel *k = arg;
    bool seen;
    struct kernel_msg *m = receive(k, CHANNEL_STDIN, frames, &seen);
    if (m && !seen && strcmp(m->msg.type, "input_request") == 0)
        k->ops->on_input(k->arg, &m->msg);
    kernel_msg_free(m);
}

/* Our own requests on control (shutdown, interrupt) need no reply: the process and its reply on shell tell. */
static void on_control(void *arg, struct zmsg *frames)
{
    bool seen;
    kernel_msg_free(receive(arg, CHANNEL_CONTROL, frames, &seen));
}

static void on_iopub_backlog(void *arg, bool behind)
{
    kernel_hold(arg, KERNEL_HOLD_US, behind);
}

/* A lost reply shows by itself: idle comes without it. */
static void on_shell_link(void *arg, bool up)
{
    kernel_watch_link(arg, CHANNEL_SHELL, up);
}

/* Output is lost when the kernel lives on: one that dies breaks its connection too, mostly before its end is known. */
static void on_iopub_link(void *arg, bool up)
{
    struct kernel *k = arg;
    kernel_watch_link(k, CHANNEL_IOPUB, up);
    bool was_broken = k->iopub_broken;
    k->iopub_broken = !up && k->state == KERNEL_READY;
    if (up && was_broken && k->state == KERNEL_READY)
        k->ops->on_output_lost(k->arg, NULL);
}

/* What a kernel asks before that is thrown away in its socket, and it would wait for the answer for ever. */
static void on_stdin_link(void *arg, bool up)
{
    struct kernel *k = arg;
    k->stdin_linked = up;
    kernel_check_ready(k);
}

static const struct {
    enum zsock_kind kind;
    struct zsock_ops ops;
} channel_rows[CHANNEL_MAX] = {
    [CHANNEL_SHELL] = {ZSOCK_DEALER, {on_shell, on_shell_link, NULL}},
    [CHANNEL_IOPUB] = {ZSOCK_SUB, {on_iopub, on_iopub_link, on_iopub_backlog}},
    [CHANNEL_STDIN] = {ZSOCK_DEALER, {on_stdin, on_stdin_link, NULL}},
    [CHANNEL_CONTROL] = {ZSOCK_DEALER, {on_control, NULL, NULL}},
};

/* SUB first: the sooner it is connected, the sooner the kernel counts as ready. */
static const enum kernel_channel connect_order[] = {CHANNEL_IOPUB, CHANNEL_SHELL, CHANNEL_CONTROL,
                                                    CHANNEL_STDIN};

int kernel_connect(struct kernel *k, struct err *err)
{
    char address[CONNECTION_PATH_MAX + 16];
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(connect_order) && r >= 0; i++) {
        enum kernel_channel channel = connect_order[i];
        connection_address(&k->connection, channel, address, sizeof(address));
        struct zsock_options options = {
            .kind = channel_rows[channel].kind,
            .address = address,
            .identity = {k->session.id, strlen(k->session.id)}, /* shell and stdin must share it */
            .receive_max = k->own_program ? IOPUB_WAITING_MAX : 0,
            .message_max = KERNEL_MESSAGE_MAX,
            .watch_link = channel_rows[channel].ops.on_link != NULL,
        };
        if (options.kind == ZSOCK_SUB)
            options.identity.len = 0;
        r = zsock_open(k->host->zcontext, &options, &channel_rows[channel].ops, k,
                       &k->channels[channel], err);
    }
    return r;
}
