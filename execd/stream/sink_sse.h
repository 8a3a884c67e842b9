/*
 * A sink: follows a channel and writes it as server-sent events into one HTTP response.
 *
 * Splits output into lines, repairs UTF-8, encodes JSON, adds pings (right after INIT, then every ping_ms), ends
 * the response after the terminal event, at once. A reader that is cut off or whose peer is gone ends without
 * touching the channel's writer. One sink per request; frees itself when the response is over.
 *
 * Lines (contracts/v1.1.md 1.2): KEEP sends text with its terminators, an unfinished line when it is 50 to 100 ms
 * old, and whole blocks of lines as one event when the process outruns the stream; STRIP sends one event per
 * line without terminator, "\n" for an empty one, and holds an unfinished line until it ends (1 MiB at most).
 * VERBATIM sends entries as they are (kernel output).
 *
 * A ping says how many are before a writer that waits ("queue"); clients that do not know pings drop them whole.
 *
 * A RECEIPT entry is not sent by itself: the terminal event carries it under the key "receipt".
 *
 * Ids of the standard framing: `id: SEQ.OUT.ERR`. The stream has looked at all entries up to number SEQ and has
 * given the client OUT bytes of stdout and ERR bytes of stderr, counted since the process began, raw and not as
 * text. What a client that comes back with this id still has to get is therefore exact, even where an id stands in
 * the middle of an entry or one stream's unfinished line was overtaken by the other: entries after SEQ, and of those
 * before it the output bytes beyond OUT and ERR (channel_entry.at). Pings have no id.
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/stream/channel.h"
#include "execd/stream/line_endings.h"
#include "proto/http/resp.h"
#include "proto/http/sse.h"

/* Where a client stands: the id of the last event it got. */
struct sink_position {
    uint64_t seq;      /* 0 = at the beginning */
    uint64_t bytes[2]; /* of stdout and stderr that it was given */
};
/* "SEQ.OUT.ERR", or "SEQ" alone: then everything up to that entry was taken. -EINVAL. */
int sink_position_parse(const char *text, struct sink_position *ret_position) must_check;

struct sink_options {
    enum line_endings lines; /* not AUTO */
    enum sse_framing framing;
    struct sink_position since;
    int ping_ms;                              /* 0 = 3,000 */
    void (*on_end)(void *arg, bool complete); /* may be NULL; the response is over */
    void *arg;
};

/* Begins the response (200, SSE headers) and streams. Returns H_STREAM. */
enum http_result sink_sse_start(struct http_req *req, struct channel *ch,
                                const struct sink_options *options);
