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
#define FLUSH_MS 50
/* Text of one event; a control byte becomes six, and a fragment is bounded by its writer. */
#define EVENT_MAX (128 * 1024 * 1024)
/* Above this the scratch memory of a large event is given back. */
#define SCRATCH_KEEP (1024 * 1024)
#define NO_LINE UINT64_MAX

struct sink {
    struct http_req *req; /* valid until producer_stop */
    struct channel_reader reader;
    struct sink_options options;
    struct lines lines[2]; /* stdout, stderr */
    uint64_t sent[2];      /* bytes of each that the client was given */
    uint64_t
        waiting[2]; /* the unfinished line that the flush timer found, by n_pieces; or NO_LINE */
    struct evbuffer *out;       /* owned scratch: frames of one entry */
    struct event *ping;         /* owned */
    struct event *flush;        /* owned: runs while a line is unfinished */
    struct channel_entry entry; /* the one being written, or the last */
    uint64_t seq;               /* everything up to this entry was looked at: for ids */
    char *receipt;              /* owned: waits for the terminal event */
    int piece;                  /* 0 stdout, 1 stderr: for emit_piece */
    size_t unread;              /* of the connection at the last ping */
    bool complete;              /* the terminal event was written */
    bool oversized;             /* an event did not fit: the stream is cut, never silently short */
};

static const enum event_type line_types[2] = {EVENT_STDOUT, EVENT_STDERR};

/* One event's JSON, for all sinks: it is filled and copied without a break. */
static struct strbuf json = {.max = EVENT_MAX};

/* --- frames --- */

static void put_frame(struct sink *s, enum event_type type)
{
    char id[64] = "";

    if (strbuf_check(&json) < 0) {
        s->oversized = true;
        return;
    }
    if (s->options.framing == SSE_STANDARD)
        snprintf(id, sizeof(id), "%llu.%llu.%llu", (unsigned long long)s->seq,
                 (unsigned long long)s->sent[0], (unsigned long long)s->sent[1]);
    sse_frame(s->out, s->options.framing, id, event_rows[type].wire, json.data, json.len);
}

static void put_text(struct sink *s, enum event_type type, const char *text, size_t len)
{
    strbuf_reset(&json);
    event_encode_text(&json, type, s->entry.wall_ms, text, len);
    put_frame(s, type);
}

static void put_fragment(struct sink *s)
{
    strbuf_reset(&json);
    event_encode_fragment(&json, s->entry.type, s->entry.wall_ms, s->entry.data, s->entry.len);
    if (event_rows[s->entry.type].terminal && s->receipt != NULL && strbuf_check(&json) == 0) {
        json.len--; /* the closing brace */
        strbuf_adds(&json, ",\"receipt\":");
        strbuf_adds(&json, s->receipt);
        strbuf_addc(&json, '}');
    }
    put_frame(s, s->entry.type);
}

static void emit_piece(void *arg, const char *text, size_t len, size_t taken)
{
    struct sink *s = arg;

    s->sent[s->piece] += taken;
    put_text(s, line_types[s->piece], text, len);
}

/* Leaves out what a client that has come back was given before. False: all of it. */
static bool skip_known(struct sink *s, int i)
{
    struct channel_entry *e = &s->entry;
    uint64_t known = s->options.since.bytes[i], end = e->at + e->len;

    if (e->seq > s->options.since.seq || known <= e->at)
        return true;
    size_t skip = (size_t)(MIN(known, end) - e->at);
    s->sent[i] = e->at + skip;
    e->data += skip;
    e->at += skip;
    e->len -= skip;
    return e->len > 0;
}

static void put_output(struct sink *s)
{
    int i = s->entry.type == EVENT_STDERR;

    if (!skip_known(s, i))
        return;
    if (s->options.lines == LINES_VERBATIM) {
        s->sent[i] = s->entry.at + s->entry.len;
        put_text(s, s->entry.type, s->entry.data, s->entry.len);
        return;
    }
    s->piece = i;
    s->sent[i] = s->entry.at - lines_pending(&s->lines[i]); /* also behind a gap */
    lines_feed(&s->lines[i], s->entry.data, s->entry.len, emit_piece, s);
}

static void flush_lines(struct sink *s, bool last)
{
    for (s->piece = 0; s->piece < 2; s->piece++)
        lines_flush(&s->lines[s->piece], last, emit_piece, s);
}

static void put_ping(struct sink *s)
{
    strbuf_reset(&json);
    event_encode_text(&json, EVENT_PING, clock_wall_ms(), "pong", 4);
    if (channel_ahead(s->reader.channel) > 0 && strbuf_check(&json) == 0) {
        json.len--; /* the closing brace */
        strbuf_addf(&json, ",\"queue\":%u}", channel_ahead(s->reader.channel));
    }
    if (strbuf_check(&json) == 0)
        sse_frame(s->out, s->options.framing, NULL, event_rows[EVENT_PING].wire, json.data,
                  json.len);
}

/* A hole in what the client was given anyway is none for it. */
static bool gap_is_known(struct sink *s)
{
    const struct channel_entry *e = &s->entry;
    const struct sink_position *since = &s->options.since;

    if (e->seq > since->seq || e->until[0] > since->bytes[0] || e->until[1] > since->bytes[1])
        return false;
    memcpy(s->sent, e->until, sizeof(s->sent));
    return true;
}

static void put_entry(struct sink *s)
{
    const struct channel_entry *e = &s->entry;
    const struct event_row *row = &event_rows[e->type];
    bool known = e->seq <= s->options.since.seq;

    if (e->type == EVENT_STDOUT || e->type == EVENT_STDERR) {
        s->seq = MAX(s->seq, e->seq);
        put_output(s);
        return;
    }
    if (e->type == EVENT_RECEIPT && s->receipt == NULL)
        s->receipt = xstrndup(e->data, e->len);
    if (e->type == EVENT_GAP ? gap_is_known(s) : known || e->type == EVENT_RECEIPT)
        return;
    if (row->terminal || e->type == EVENT_GAP)
        flush_lines(s, true); /* under the id of what came before */
    s->seq = e->seq;
    s->complete = row->terminal;
    put_fragment(s);
    if (e->type == EVENT_GAP)
        memcpy(s->sent, e->until, sizeof(s->sent));
    if (e->type == EVENT_INIT)
        put_ping(s);
}

static void trim_scratch(struct sink *s)
{
    if (json.cap > SCRATCH_KEEP)
        strbuf_done(&json);
    lines_trim(&s->lines[0]);
    lines_trim(&s->lines[1]);
}

/* --- unfinished lines --- */

/* Which unfinished line is there: its number, until something more of the stream was sent. */
static uint64_t unfinished(const struct sink *s, int i)
{
    return lines_pending(&s->lines[i]) > 0 ? s->lines[i].n_pieces : NO_LINE;
}

static void arm_flush(struct sink *s)
{
    static const struct timeval tv = {.tv_usec = FLUSH_MS * 1000};

    if (event_add(s->flush, &tv) < 0)
        return; /* the text comes with the next output or at the end */
    for (int i = 0; i < 2; i++)
        s->waiting[i] = unfinished(s, i);
}

/* A line that was unfinished at the last turn of the timer and still is goes out as it is. In a flood it is another
 * line every time, and none is cut. */
static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    struct sink *s = arg;
    bool more = false;

    (void)fd;
    (void)what;
    s->entry.wall_ms = clock_wall_ms();
    for (s->piece = 0; s->piece < 2; s->piece++) {
        uint64_t now = unfinished(s, s->piece);
        if (now == NO_LINE)
            continue;
        if (now ==
            s->waiting
                [s->piece]) /* a cut character that stays behind waits for its rest, not for us */
            lines_flush(&s->lines[s->piece], false, emit_piece, s);
        else
            more = true;
    }
    if (more)
        arm_flush(s);
    http_resp_write_buffer(s->req, s->out);
}

/* --- the producer --- */

static void proceed(void *arg)
{
    struct sink *s = arg;

    if (s->reader
            .cut) { /* too slow for too long: the client must see that the stream is not whole */
        http_resp_abort(s->req);
        return;
    }
    while (!s->complete && http_resp_wants_more(s->req) && channel_peek(&s->reader, &s->entry)) {
        put_entry(s);
        channel_advance(&s->reader);
        http_resp_write_buffer(s->req, s->out);
    }
    trim_scratch(s);
    if (s->oversized)
        http_resp_abort(s->req);
    else if (s->complete)
        http_resp_end(s->req);
    else if (s->options.lines == LINES_KEEP && !event_pending(s->flush, EV_TIMEOUT, NULL) &&
             (lines_pending(&s->lines[0]) > 0 || lines_pending(&s->lines[1]) > 0))
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
    if (s->out != NULL)
        evbuffer_free(s->out);
    if (s->ping != NULL)
        event_free(s->ping);
    if (s->flush != NULL)
        event_free(s->flush);
    free(s->receipt);
    free(s);
    if (on_end != NULL)
        on_end(on_end_arg, complete);
}

static const struct http_producer sink_producer = {proceed, stop};

static void on_ready(void *arg)
{
    struct sink *s = arg;

    if (s->reader
            .cut) /* too slow for too long, so nobody asks for more: the client must see that it is not whole */
        http_resp_abort(s->req);
    else
        http_resp_wake(s->req);
}

static void on_ping(evutil_socket_t fd, short what, void *arg)
{
    struct sink *s = arg;
    size_t unread = http_resp_pending(s->req) > 0 ? http_resp_unread(s->req) : 0;

    (void)fd;
    (void)what;
    if (unread != s->unread) /* a slow client still reads what was given to it */
        channel_touch(&s->reader);
    s->unread = unread;
    if (s->complete || !http_resp_wants_more(s->req))
        return; /* a client that is behind is not silent */
    put_ping(s);
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

int sink_position_parse(const char *text, struct sink_position *ret)
{
    uint64_t *const parts[] = {&ret->seq, &ret->bytes[0], &ret->bytes[1]};
    size_t i = 0;

    for (; i < ARRAY_LEN(parts); i++) {
        const char *end = strchrnul(text, '.');
        char number[24];
        if ((size_t)(end - text) >= sizeof(number))
            return -EINVAL;
        memcpy(number, text, (size_t)(end - text));
        number[end - text] = '\0';
        if (str_to_u64(number, parts[i]) < 0)
            return -EINVAL;
        if (*end == '\0')
            break;
        text = end + 1;
    }
    if (i == 0) /* the number alone */
        ret->bytes[0] = ret->bytes[1] = UINT64_MAX;
    return i == 0 || i == 2 ? 0 : -EINVAL;
}

enum http_result sink_sse_start(struct http_req *req, struct channel *ch,
                                const struct sink_options *options)
{
    struct sink *s = xnew(struct sink);
    bool strip = options->lines == LINES_STRIP;

    s->req = req;
    s->options = *options;
    s->options.on_end = NULL;
    lines_init(&s->lines[0], strip);
    lines_init(&s->lines[1], strip);
    if (!make_resources(s, http_req_base(req))) {
        stop(s);
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for another stream");
    }
    s->options.on_end = options->on_end;
    sse_headers(req);
    s->seq = options->since.seq;
    channel_attach(&s->reader, ch, CHANNEL_FROM_START, on_ready, s);
    return http_resp_begin(req, 200, NULL, -1, &sink_producer, s); /* sse_headers named the type */
}
