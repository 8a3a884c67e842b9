/*
 * How handlers answer with a stream of events: framing and line endings by what the client asked for.
 *
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/api/api.h"

enum stream_text {
    STREAM_LINES,    /* output of programs: lines, by the client's dialect */
    STREAM_VERBATIM, /* output with a structure of its own */
    STREAM_CHANGES,  /* the same, made for an EventSource, often quiet for long */
};

/* Streams the channel from its beginning, with the header X-Execd-Run-Id. Takes the reference. */
enum http_result api_stream(struct http_req *req, struct api *api, struct channel *ch,
                            const char *run_id, enum stream_text text);
/* Where the client stands: by the header that EventSource sends, or by the query. NULL: it did not say. */
const char *api_since(struct http_req *req);
/* Lines, and on_end once when the client has had everything (complete) or is gone. */
enum http_result api_stream_watched(struct http_req *req, struct api *api, struct channel *ch,
                                    const char *run_id, void (*on_end)(void *arg, bool complete),
                                    void *arg);
