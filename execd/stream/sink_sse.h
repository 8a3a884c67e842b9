/*
 * A sink: follows a channel and writes it as server-sent events into one HTTP response.
 *
 * Splits output into lines, repairs UTF-8, encodes JSON, adds pings (right after INIT, then every ping_ms of
 * silence), ends the response after the terminal event, at once. A reader that is cut off or whose peer is gone
 * ends without touching the channel's writer. One sink per request; frees itself when the response is over.
 *
 * Lines (contracts/v1.1.md 1.2): KEEP sends text with its terminators, an unfinished line after 100 ms of
 * silence, and whole blocks of lines as one event when the process outruns the stream; STRIP sends one event per
 * line without terminator, "\n" for an empty one, and holds an unfinished line until it ends (1 MiB at most).
 * VERBATIM sends entries as they are (kernel output). Thread rule: loop thread only.
 */
#pragma once

#include "execd/stream/channel.h"
#include "proto/http/resp.h"
#include "proto/http/sse.h"

enum line_endings { LINES_AUTO, LINES_KEEP, LINES_STRIP, LINES_VERBATIM };

int line_endings_parse(const char *text, enum line_endings *ret_mode) must_check;
/* AUTO decided by User-Agent (contracts/v1.1.md 1.2, last row). */
enum line_endings line_endings_choose(enum line_endings configured, const char *user_agent);

struct sink_options {
    enum line_endings lines; /* not AUTO */
    enum sse_framing framing;
    uint64_t since_seq;      /* first sequence number to send is since_seq + 1 */
    int ping_ms;             /* 0 = 3,000 */
    void (*on_end)(void *arg, bool complete); /* may be NULL; the response is over */
    void *arg;
};

/* Begins the response (200, SSE headers) and streams. Returns H_STREAM. */
enum http_result sink_sse_start(struct http_req *req, struct channel *ch, const struct sink_options *options);
