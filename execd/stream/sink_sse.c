#include "execd/stream/sink_sse.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/stream/event.h"
#include "execd/stream/lines.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

#define PING_MS 3000
#define FLUSH_MS 100
/* Text of one event; a control byte becomes six, and a fragment is bounded by its writer. */
#define EVENT_MAX (128 * 1024 * 1024)
/* Above this the scratch memory of a large event is given back. */
#define SCRATCH_KEEP (1024 * 1024)

struct sink {
    struct http_req *req;   /* valid until producer_stop */
    struct channel_reader reader;
    struct sink_options options;
    struct lines lines[2];  /* stdout, stderr */
    struct strbuf json;     /* scratch: one event */
    struct evbuffer *out;   /* owned scratch: frames of one entry */
    struct event *ping;     /* owned */
    struct event *flush;    /* owned: an unfinished line has waited long enough */
    struct channel_entry entry; /* the one being written */
    enum event_type piece;  /* STDOUT or STDERR, for emit_piece */
    bool complete;          /* the terminal event was written */
    bool oversized;         /* an event did not fit: the stream is cut, never silently short */
};

static const enum event_type line_types[2] = {EVENT_STDOUT, EVENT_STDERR};

int line_endings_parse(const char *text, enum line_endings *ret_mode)
{
    static const char *const names[] = {[LINES_AUTO] = "auto", [LINES_KEEP] = "keep", [LINES_STRIP] = "strip"};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_nocase(text, names[i])) {
            *ret_mode = (enum line_endings)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* Clients that want lines without terminators, by the product in their User-Agent (contracts/v1.1.md 1.2). For the
 * Python SDK that ended with 1.1.0. */
enum line_endings line_endings_choose(enum line_endings configured, const char *user_agent)
{
    static const char *const stripping[] = {"OpenSandbox-Go-SDK/", "OpenSandbox-JS-SDK/", "OpenSandbox-Kotlin-SDK/",
                                            "OpenSandbox-CSharp-SDK/"};
    static const char python[] = "OpenSandbox-Python-SDK/";
    unsigned major = 0, minor = 0, patch = 0;

    if (configured != LINES_AUTO)
        return configured;
    if (user_agent == NULL)
        return LINES_KEEP;
    for (size_t i = 0; i < ARRAY_LEN(stripping); i++) {
        if (strstr(user_agent, stripping[i]) != NULL)
            return LINES_STRIP;
    }
    const char *p = strstr(user_agent, python);
    if (p == NULL || sscanf(p + sizeof(python) - 1, "%u.%u.%u", &major, &minor, &patch) < 2)
        return LINES_KEEP;
    bool old = major < 1 || (major == 1 && (minor < 1 || (minor == 1 && patch < 1)));
    return old ? LINES_STRIP : LINES_KEEP;
}

/* --- frames --- */

/* The id names the entry whose bytes are all out with this frame; a frame that leaves some behind has none, so that
 * a client never skips what it has not seen. */
static void put_frame(struct sink *s, enum event_type type, bool whole)
{
    char id[24];

    if (strbuf_check(&s->json) < 0) {
        s->oversized = true;
        return;
    }
    snprintf(id, sizeof(id), "%llu", (unsigned long long)s->entry.seq);
    sse_frame(s->out, s->options.framing, whole ? id : NULL, event_rows[type].wire, s->json.data, s->json.len);
}

static void put_text(struct sink *s, enum event_type type, const char *text, size_t len, bool whole)
{
    strbuf_reset(&s->json);
    event_encode_text(&s->json, type, s->entry.wall_ms, text, len);
    put_frame(s, type, whole);
}

static void put_fragment(struct sink *s)
{
    strbuf_reset(&s->json);
    event_encode_fragment(&s->json, s->entry.type, s->entry.wall_ms, s->entry.data, s->entry.len);
    put_frame(s, s->entry.type, true);
}

static void emit_piece(void *arg, const char *text, size_t len)
{
    struct sink *s = arg;

    put_text(s, s->piece, text, len, false);
}

static void put_output(struct sink *s)
{
    s->piece = s->entry.type;
    if (s->options.lines == LINES_VERBATIM) {
        put_text(s, s->piece, s->entry.data, s->entry.len, true);
        return;
    }
    struct lines *l = &s->lines[s->entry.type == EVENT_STDERR];
    lines_feed(l, s->entry.data, s->entry.len, emit_piece, s);
}

static void flush_lines(struct sink *s, bool last)
{
    for (int i = 0; i < 2; i++) {
        s->piece = line_types[i];
        lines_flush(&s->lines[i], last, emit_piece, s);
    }
}

static void put_ping(struct sink *s)
{
    strbuf_reset(&s->json);
    event_encode_text(&s->json, EVENT_PING, clock_wall_ms(), "pong", 4);
    if (strbuf_check(&s->json) == 0)
        sse_frame(s->out, s->options.framing, NULL, event_rows[EVENT_PING].wire, s->json.data, s->json.len);
}

static void put_entry(struct sink *s)
{
    const struct event_row *row = &event_rows[s->entry.type];

    if (s->entry.type == EVENT_STDOUT || s->entry.type == EVENT_STDERR) {
        put_output(s);
        return;
    }
    if (row->terminal) {
        flush_lines(s, true);
        s->complete = true;
    }
    put_fragment(s);
    if (s->entry.type == EVENT_INIT)
        put_ping(s);
}

static void trim_scratch(struct sink *s)
{
    if (s->json.cap > SCRATCH_KEEP)
        strbuf_done(&s->json);
}

/* --- the producer --- */

static void arm_flush(struct sink *s)
{
    const struct timeval tv = {.tv_usec = FLUSH_MS * 1000};
    bool pending = s->options.lines == LINES_KEEP && (lines_pending(&s->lines[0]) || lines_pending(&s->lines[1]));

    if (pending && event_add(s->flush, &tv) < 0)
        return; /* the text comes with the next output or at the end */
    if (!pending)
        (void)event_del(s->flush);
}

static void proceed(void *arg)
{
    struct sink *s = arg;

    if (s->reader.cut) { /* too slow for too long: the client must see that the stream is not whole */
        http_resp_abort(s->req);
        return;
    }
    while (!s->complete && http_resp_wants_more(s->req) && channel_peek(&s->reader, &s->entry)) {
        put_entry(s);
        channel_advance(&s->reader);
        http_resp_write_buffer(s->req, s->out);
        trim_scratch(s);
    }
    if (s->oversized) {
        http_resp_abort(s->req);
        return;
    }
    if (s->complete)
        http_resp_end(s->req);
    else
        arm_flush(s);
}

static void stop(void *arg)
{
    struct sink *s = arg;
    void (*on_end)(void *, bool) = s->options.on_end;
    void *on_end_arg = s->options.arg;
    bool complete = s->complete;

    channel_detach(&s->reader);
    lines_done(&s->lines[0]);
    lines_done(&s->lines[1]);
    strbuf_done(&s->json);
    if (s->out != NULL)
        evbuffer_free(s->out);
    if (s->ping != NULL)
        event_free(s->ping);
    if (s->flush != NULL)
        event_free(s->flush);
    free(s);
    if (on_end != NULL)
        on_end(on_end_arg, complete);
}

static const struct http_producer sink_producer = {proceed, stop};

static void on_ready(void *arg)
{
    struct sink *s = arg;

    http_resp_wake(s->req);
}

static void on_ping(evutil_socket_t fd, short what, void *arg)
{
    struct sink *s = arg;

    (void)fd;
    (void)what;
    if (s->complete || !http_resp_wants_more(s->req))
        return; /* a client that is behind is not silent */
    put_ping(s);
    http_resp_write_buffer(s->req, s->out);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    struct sink *s = arg;

    (void)fd;
    (void)what;
    s->entry.wall_ms = clock_wall_ms();
    flush_lines(s, false);
    http_resp_write_buffer(s->req, s->out);
}

static bool make_resources(struct sink *s, struct event_base *base)
{
    int ping_ms = s->options.ping_ms > 0 ? s->options.ping_ms : PING_MS;
    struct timeval tv = {.tv_sec = ping_ms / 1000, .tv_usec = (ping_ms % 1000) * 1000};

    s->out = evbuffer_new();
    s->ping = event_new(base, -1, EV_PERSIST, on_ping, s);
    s->flush = event_new(base, -1, 0, on_flush, s);
    return s->out != NULL && s->flush != NULL && s->ping != NULL && event_add(s->ping, &tv) == 0;
}

enum http_result sink_sse_start(struct http_req *req, struct channel *ch, const struct sink_options *options)
{
    struct sink *s = xnew(struct sink);
    bool strip = options->lines == LINES_STRIP;

    s->req = req;
    s->options = *options;
    s->options.on_end = NULL;
    lines_init(&s->lines[0], strip);
    lines_init(&s->lines[1], strip);
    strbuf_init(&s->json, EVENT_MAX);
    if (!make_resources(s, http_req_base(req))) {
        stop(s);
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for another stream");
    }
    s->options.on_end = options->on_end;
    sse_headers(req);
    channel_attach(&s->reader, ch, options->since_seq + 1, on_ready, s);
    return http_resp_begin(req, 200, NULL, -1, &sink_producer, s); /* sse_headers named the type */
}
