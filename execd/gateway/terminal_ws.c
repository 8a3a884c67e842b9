#include "execd/gateway/terminal_ws.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/ws_conn.h"
#include "proto/json/jfield.h"

#define FRAME_MAX 16384 /* bytes of the terminal in one frame */
#define TOUCH_MS 500

struct client {
    struct term_viewer viewer;
    struct terminals *terminals; /* borrowed */
    struct ws_conn *ws;          /* owned until on_close */
    uint64_t offset;             /* next byte to send */
    size_t unread; /* by the client, when last asked; SIZE_MAX: not asked since it took something */
    bool has_ended; /* the shell; `until` holds */
    uint64_t until;
    int64_t touched_ms;
};

static void touch(struct client *c)
{
    int64_t now = clock_monotonic_ms();
    if (now - c->touched_ms < TOUCH_MS)
        return;
    c->touched_ms = now;
    terminals_touch(c->terminals, c->viewer.term);
}

/* ---- frames out ---------------------------------------------------------------------------------- */

static void send_text(struct client *c, const char *text)
{
    ws_conn_send_text(c->ws, text, strlen(text));
}

/* Bytes at the end that begin a character whose rest has not come yet. */
static size_t unfinished(const char *p, size_t n)
{
    for (size_t back = 1; back <= MIN(n, (size_t)3); back++)
        if (utf8_sequence(p + n - back, back) < 0)
            return back;
    return 0;
}

static void send_stdout(struct client *c, const char *p, size_t n)
{
    struct strbuf frame;
    strbuf_init(&frame, 0);
    strbuf_adds(&frame, "[\"stdout\",");
    json_escape(&frame, p, n);
    strbuf_adds(&frame, "]");
    if (strbuf_check(&frame) < 0)
        ws_conn_abort(c->ws); /* no memory: better gone than silent */
    else
        ws_conn_send_text(c->ws, frame.data, frame.len);
    strbuf_done(&frame);
}

/* Sends one frame of what is there; false when there is nothing (yet) to be shown. */
static bool send_some(struct client *c, const struct ring *ring, uint64_t end)
{
    char bytes[FRAME_MAX];
    struct slice parts[2];
    size_t n = 0;
    c->offset = MAX(c->offset, ring_oldest(ring));
    if (c->offset >= end) /* a next shell has overtaken the end of this one */
        return false;
    size_t max = (size_t)MIN(end - c->offset, (uint64_t)sizeof(bytes));
    size_t n_parts = ring_read(ring, c->offset, max, parts);
    for (size_t i = 0; i < n_parts; i++) {
        memcpy(bytes + n, parts[i].ptr, parts[i].len);
        n += parts[i].len;
    }
    if (!c->has_ended || c->offset + n < end)
        n -= unfinished(bytes, n);
    if (n == 0)
        return false;
    send_stdout(c, bytes, n);
    c->offset += n;
    return true;
}

static void pull(struct client *c)
{
    if (c->viewer.term == NULL)
        return;
    const struct ring *ring = term_ring(c->viewer.term);
    uint64_t end = c->has_ended ? c->until : ring_total(ring);
    bool more = true;
    while (more && c->offset < end && ws_conn_wants_more(c->ws))
        more = send_some(c, ring, end);
    if (c->has_ended && c->offset >= end) {
        send_text(c, "[\"disconnect\",1]");
        ws_conn_close(c->ws, WS_CLOSE_NORMAL, "the shell has ended");
    }
    c->unread = SIZE_MAX;
    term_moved(&c->viewer, c->offset);
}

/* ---- what the session tells ---------------------------------------------------------------------- */

static struct client *of(struct term_viewer *v)
{
    return container_of(v, struct client, viewer);
}

static void on_output(struct term_viewer *v)
{
    touch(of(v));
    pull(of(v));
}

static void on_exit_of_shell(struct term_viewer *v, int exit_code, uint64_t until)
{
    struct client *c = of(v);
    (void)exit_code;
    c->has_ended = true;
    c->until = until;
    ws_conn_pause(c->ws, false);
    pull(c);
}

static void on_gone(struct term_viewer *v, enum term_gone why)
{
    struct client *c = of(v);
    send_text(c, "[\"disconnect\",1]");
    if (why == TERM_GONE_SHUTDOWN)
        ws_conn_close(c->ws, WS_CLOSE_GOING_AWAY, "the agent is shutting down");
    else
        ws_conn_close(c->ws, WS_CLOSE_NORMAL,
                      why == TERM_GONE_DELETED ? "terminal deleted" : "taken over");
}

static void on_input_room(struct term_viewer *v)
{
    ws_conn_pause(of(v)->ws, false);
}

static bool is_reading(struct term_viewer *v)
{
    struct client *c = of(v);
    size_t before = c->unread;
    c->unread = ws_conn_unread(c->ws);
    return c->unread < before;
}

/* ---- frames in ----------------------------------------------------------------------------------- */

static void refuse(struct client *c, uint16_t code, const char *why)
{
    term_detach(&c->viewer);
    ws_conn_close(c->ws, code, why);
}

static void take_stdin(struct client *c, const json_t *frame)
{
    const json_t *text = json_array_get(frame, 1);
    if (!json_is_string(text)) {
        refuse(c, WS_CLOSE_POLICY, "stdin: expected a text");
        return;
    }
    if (term_write(c->viewer.term, json_string_value(text), json_string_length(text)) < 0) {
        refuse(c, WS_CLOSE_INTERNAL, "the shell reads no more input");
        return;
    }
    touch(c);
    if (!term_takes_input(c->viewer.term))
        ws_conn_pause(c->ws, true);
}

static void take_size(struct client *c, const json_t *frame)
{
    const json_t *rows = json_array_get(frame, 1), *cols = json_array_get(frame, 2);
    if (!json_is_integer(rows) || !json_is_integer(cols))
        refuse(c, WS_CLOSE_POLICY, "set_size: expected rows and columns");
    else if (json_integer_value(rows) > 0 && json_integer_value(cols) > 0)
        term_resize(c->viewer.term, json_integer_value(cols), json_integer_value(rows));
}

static void on_message(void *arg, const struct ws_message *m)
{
    struct client *c = arg;
    json_error_t ignored;
    if (c->viewer.term == NULL)
        return;
    cleanup_json json_t *frame =
        m->opcode == WS_TEXT
            ? json_loadb(m->data, m->len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &ignored)
            : NULL;
    const char *kind = json_string_value(json_array_get(frame, 0));
    if (kind == NULL)
        refuse(c, WS_CLOSE_BAD_DATA, "expected a JSON array whose first item is a text");
    else if (strcmp(kind, "stdin") == 0)
        take_stdin(c, frame);
    else if (strcmp(kind, "set_size") == 0)
        take_size(c, frame);
    /* others are ignored, as terminals of Jupyter do */
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void on_writable(void *arg)
{
    pull(arg);
}

static void on_close(void *arg, uint16_t code)
{
    struct client *c = arg;
    (void)code;
    term_detach(&c->viewer);
    free(c);
}

int terminal_ws_start(struct http_req *req, struct terminals *terminals, struct term *term,
                      struct err *err)
{
    static const struct ws_handlers handlers = {on_message, on_writable, on_close};
    static const struct ws_options options = {.message_max = 1u << 20};
    struct client *c = xnew(struct client);
    *c = (struct client){
        .viewer = {.on_output = on_output,
                   .on_exit = on_exit_of_shell,
                   .on_gone = on_gone,
                   .on_input_room = on_input_room,
                   .is_reading = is_reading},
        .terminals = terminals,
        .offset = ring_oldest(term_ring(term)),
    };
    int rc = ws_conn_accept(req, &options, &handlers, c, &c->ws, err);
    if (rc < 0) {
        free(c);
        return rc;
    }
    term_attach(term, &c->viewer, !term_has_writer(term));
    term_moved(&c->viewer, c->offset);
    send_text(c, "[\"setup\",{}]");
    pull(c);
    return 0;
}
