#include "execd/pty/attach.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/http/ws_conn.h"
#include "proto/json/jfield.h"
#include "proto/json/json_build.h"

#define LIVE_MAX 32768 /* bytes of one live frame */
#define REPLAY_MAX                                                                                 \
    262144 /* of one replay frame: small enough for clients that take 1 MiB at most */

enum { FRAME_STDIN = 0, FRAME_STDOUT = 1, FRAME_STDERR = 2, FRAME_REPLAY = 3 };

static const char *const mode_names[] = {[TERM_PTY] = "pty", [TERM_PIPE] = "pipe"};

struct attach {
    struct term_viewer viewer;
    struct ws_conn *ws; /* owned until on_close */
    bool is_viewer;
    bool is_connected; /* the replay is through and "connected" was sent */
    uint64_t offset;   /* next byte to send */
    size_t unread; /* by the client, when last asked; SIZE_MAX: not asked since it took something */
    uint64_t replay_end; /* up to here it is replay */
    bool has_ended;      /* the process; `until` and exit_code hold */
    int exit_code;
    uint64_t until;
};

/* ---- frames out ---------------------------------------------------------------------------------- */

static void send_json(struct attach *a, json_t *o)
{
    size_t len;
    char *text = o != NULL ? json_compact(o, &len) : NULL;

    if (text != NULL)
        ws_conn_send_text(a->ws, text, len);
    else
        ws_conn_abort(a->ws); /* no memory: better gone than silent */
    free(text);
    json_decref(o);
}

static void send_error(struct attach *a, const char *code, const char *text)
{
    send_json(a, json_pack("{s:s, s:s, s:s}", "type", "error", "error", text, "code", code));
}

static void send_connected(struct attach *a)
{
    struct term_info info;

    term_get_info(a->viewer.term, &info);
    json_t *o = json_pack("{s:s, s:s, s:s}", "type", "connected", "session_id", info.id, "mode",
                          mode_names[info.mode]);
    if (a->is_viewer)
        json_put(&o, "viewer", json_true());
    send_json(a, o);
    a->is_connected = true;
}

static void send_exit(struct attach *a)
{
    send_json(a, json_pack("{s:s, s:i}", "type", "exit", "exit_code", a->exit_code));
    ws_conn_close(a->ws, WS_CLOSE_NORMAL, "process exited");
}

/* Sends up to max bytes from the present offset on, behind a head. */
static void send_bytes(struct attach *a, const struct ring *ring, const char *head, size_t head_len,
                       size_t max)
{
    struct slice parts[3] = {{head, head_len}};
    size_t n = ring_read(ring, a->offset, max, parts + 1);

    ws_conn_send(a->ws, WS_BINARY, parts, n + 1);
    for (size_t i = 1; i <= n; i++)
        a->offset += parts[i].len;
}

static void send_replay(struct attach *a, const struct ring *ring, uint64_t end, size_t max)
{
    char head[9] = {FRAME_REPLAY};

    a->offset = MAX(a->offset, ring_oldest(ring));
    for (int i = 0; i < 8; i++)
        head[1 + i] = (char)(a->offset >> (8 * (7 - i)));
    if (a->offset < end)
        send_bytes(a, ring, head, sizeof(head), (size_t)MIN(end - a->offset, (uint64_t)max));
}

static void send_live(struct attach *a, const struct ring *ring, uint64_t end)
{
    uint64_t run_end;
    enum ring_stream stream = ring_run_at(ring, a->offset, &run_end);
    char head = stream == RING_STDERR ? FRAME_STDERR : FRAME_STDOUT;
    size_t max = (size_t)MIN(MIN(end, run_end) - a->offset, (uint64_t)LIVE_MAX);

    if (stream == RING_UNKNOWN || a->offset < ring_oldest(ring))
        send_replay(a, ring, end, LIVE_MAX);
    else
        send_bytes(a, ring, &head, 1, max);
}

/* One step; false when there is nothing to send for now. */
static bool step(struct attach *a, const struct ring *ring)
{
    uint64_t end = a->has_ended ? a->until : ring_total(ring);

    if (!a->is_connected) {
        if (a->offset < a->replay_end)
            send_replay(a, ring, a->replay_end, REPLAY_MAX);
        if (a->offset >= a->replay_end)
            send_connected(a);
        return true;
    }
    if (a->offset < end) {
        send_live(a, ring, end);
        return true;
    }
    if (a->has_ended)
        send_exit(a);
    return false;
}

static void pull(struct attach *a)
{
    if (a->viewer.term == NULL)
        return;
    const struct ring *ring = term_ring(a->viewer.term);
    while (ws_conn_wants_more(a->ws) && step(a, ring))
        ;
    a->unread = SIZE_MAX;
    term_moved(&a->viewer, a->offset);
}

/* ---- what the session tells ---------------------------------------------------------------------- */

static struct attach *of(struct term_viewer *v)
{
    return container_of(v, struct attach, viewer);
}

static void on_output(struct term_viewer *v)
{
    pull(of(v));
}

static void on_exit_of_process(struct term_viewer *v, int exit_code, uint64_t until)
{
    struct attach *a = of(v);

    a->has_ended = true;
    a->exit_code = exit_code;
    a->until = until;
    ws_conn_pause(a->ws, false);
    pull(a);
}

static void on_gone(struct term_viewer *v, enum term_gone why)
{
    struct attach *a = of(v);

    if (why == TERM_GONE_TAKEN_OVER) {
        ws_conn_close(a->ws, 4001, "TAKEN_OVER");
    } else if (why == TERM_GONE_SHUTDOWN) {
        ws_conn_close(a->ws, WS_CLOSE_GOING_AWAY, "the agent is shutting down");
    } else {
        send_json(a, json_pack("{s:s, s:i}", "type", "exit", "exit_code",
                               a->has_ended ? a->exit_code : -1));
        ws_conn_close(a->ws, WS_CLOSE_NORMAL, "session deleted");
    }
}

static bool is_reading(struct term_viewer *v)
{
    struct attach *a = of(v);
    size_t before = a->unread;

    a->unread = ws_conn_unread(a->ws);
    return a->unread < before;
}

static void on_input_room(struct term_viewer *v)
{
    ws_conn_pause(of(v)->ws, false);
}

/* ---- frames in ----------------------------------------------------------------------------------- */

static void refuse(struct attach *a, const char *text)
{
    send_error(a, "INVALID_FRAME", text);
}

static void take_input(struct attach *a, const char *p, size_t n)
{
    if (term_write(a->viewer.term, p, n) < 0) {
        send_error(a, "STDIN_WRITE_FAILED", "the process reads no more input");
        ws_conn_close(a->ws, WS_CLOSE_INTERNAL, "STDIN_WRITE_FAILED");
        term_detach(&a->viewer);
        return;
    }
    if (!term_takes_input(a->viewer.term))
        ws_conn_pause(a->ws, true);
}

static void take_stdin(struct attach *a, const json_t *frame)
{
    const json_t *data = json_object_get(frame, "data");

    if (!json_is_string(data))
        refuse(a, "stdin: data must be a string");
    else
        take_input(a, json_string_value(data), json_string_length(data));
}

static void take_signal(struct attach *a, const json_t *frame)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"SIGINT", SIGINT},
                   {"SIGTERM", SIGTERM},
                   {"SIGKILL", SIGKILL},
                   {"SIGQUIT", SIGQUIT},
                   {"SIGHUP", SIGHUP}};
    const char *name = json_string_value(json_object_get(frame, "signal"));

    for (size_t i = 0; name != NULL && i < ARRAY_LEN(signals); i++) {
        if (strcmp(name, signals[i].name) == 0) {
            (void)!term_signal(a->viewer.term,
                               signals[i].number); /* gone already: the exit frame tells */
            return;
        }
    }
    refuse(a, "signal: one of SIGINT, SIGTERM, SIGKILL, SIGQUIT, SIGHUP");
}

static void take_resize(struct attach *a, const json_t *frame)
{
    const json_t *cols = json_object_get(frame, "cols"), *rows = json_object_get(frame, "rows");

    if (!json_is_integer(cols) || !json_is_integer(rows) || json_integer_value(cols) <= 0 ||
        json_integer_value(rows) <= 0)
        refuse(a, "resize: cols and rows must be integers from 1 on");
    else
        term_resize(a->viewer.term, json_integer_value(cols), json_integer_value(rows));
}

static void take_ping(struct attach *a, const json_t *frame)
{
    (void)frame;
    send_json(a, json_pack("{s:s}", "type", "pong"));
}

static const struct {
    const char *type;
    void (*take)(struct attach *a, const json_t *frame);
    bool writes;
} frame_types[] = {
    {"stdin", take_stdin, true},
    {"signal", take_signal, true},
    {"resize", take_resize, true},
    {"ping", take_ping, false},
};

static void take_frame(struct attach *a, const json_t *frame)
{
    const char *type = json_string_value(json_object_get(frame, "type"));
    char text[96];

    for (size_t i = 0; type != NULL && i < ARRAY_LEN(frame_types); i++) {
        if (strcmp(type, frame_types[i].type) != 0)
            continue;
        if (a->is_viewer && frame_types[i].writes)
            send_error(a, "READ_ONLY", "a viewer may only look");
        else
            frame_types[i].take(a, frame);
        return;
    }
    (void)snprintf(text, sizeof(text), "unknown frame type \"%.64s\"", type != NULL ? type : "");
    refuse(a, text);
}

static void take_text(struct attach *a, const struct ws_message *m)
{
    json_error_t ignored;
    cleanup_json json_t *frame =
        json_loadb(m->data, m->len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &ignored);

    if (json_is_object(frame)) /* anything else is ignored: contracts/execd.md 3.5 */
        take_frame(a, frame);
}

static void on_message(void *arg, const struct ws_message *m)
{
    struct attach *a = arg;

    if (a->viewer.term == NULL)
        return;
    if (m->opcode == WS_TEXT)
        take_text(a, m);
    else if (m->len > 1 && m->data[0] == FRAME_STDIN && !a->is_viewer)
        take_input(a, m->data + 1, m->len - 1);
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void on_writable(void *arg)
{
    pull(arg);
}

static void on_close(void *arg, uint16_t code)
{
    struct attach *a = arg;

    (void)code;
    term_detach(&a->viewer);
    free(a);
}

/* A writer finds the process running or starts it. A viewer that comes after the end learns how it ended. */
static void begin(struct attach *a, struct term *t, enum term_mode mode)
{
    struct term_info info;
    struct err err = {0};

    term_get_info(t, &info);
    if (a->is_viewer && info.has_exited && !info.running) {
        a->viewer.has_ended = true; /* what may be started later is not its business */
        on_exit_of_process(&a->viewer, info.exit_code, info.output_offset);
        return;
    }
    if (!a->is_viewer && !info.running && term_start(t, mode, &err) < 0) {
        send_error(a, "START_FAILED", err.text);
        ws_conn_close(a->ws, WS_CLOSE_INTERNAL, "START_FAILED");
        term_detach(&a->viewer);
        return;
    }
    pull(a);
}

int attach_start(struct http_req *req, struct term *t, const struct attach_options *options,
                 struct err *err)
{
    static const struct ws_handlers handlers = {on_message, on_writable, on_close};
    static const char *const subprotocols[] = {"execd.pty.v1", NULL};
    static const struct ws_options ws_options = {.subprotocols = subprotocols};
    struct attach *a = xnew(struct attach);

    *a = (struct attach){
        .viewer = {.on_output = on_output,
                   .on_exit = on_exit_of_process,
                   .on_gone = on_gone,
                   .on_input_room = on_input_room,
                   .is_reading = is_reading},
        .is_viewer = options->is_viewer,
        .offset = MIN(options->since, ring_total(term_ring(t))),
        .replay_end = ring_total(term_ring(t)),
    };
    int rc = ws_conn_accept(req, &ws_options, &handlers, a, &a->ws, err);
    if (rc < 0) {
        free(a);
        return rc;
    }
    term_attach(t, &a->viewer, !a->is_viewer);
    term_moved(&a->viewer, a->offset);
    begin(a, t, options->mode);
    return 0;
}
