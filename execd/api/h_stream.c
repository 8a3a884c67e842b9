#include <errno.h>

#include "execd/api/stream.h"
#include "proto/api/errors.h"
#include "proto/http/resp.h"

#define QUIET_PING_MS 15000

static struct sink_options choose(struct http_req *req, const struct api *api,
                                  enum stream_text text)
{
    return (struct sink_options){
        .lines = text == STREAM_LINES
                     ? line_endings_choose(api->line_endings, http_req_header(req, "User-Agent"))
                     : LINES_VERBATIM,
        .framing = sse_choose(req, text == STREAM_CHANGES ? SSE_STANDARD : SSE_RAW),
        .ping_ms = text == STREAM_CHANGES ? QUIET_PING_MS : 0,
    };
}

/* Whatever is streamed has its own copy of what the request asked for. */
static enum http_result begin(struct http_req *req, struct channel *ch, const char *run_id,
                              const struct sink_options *options)
{
    http_req_drop_body(req);
    http_resp_header(req, "X-Execd-Run-Id", run_id);
    enum http_result result = sink_sse_start(req, ch, options);
    channel_unref(ch);
    return result;
}

enum http_result api_stream(struct http_req *req, struct api *api, struct channel *ch,
                            const char *run_id, enum stream_text text)
{
    struct sink_options options = choose(req, api, text);

    return begin(req, ch, run_id, &options);
}

enum http_result api_stream_watched(struct http_req *req, struct api *api, struct channel *ch,
                                    const char *run_id, void (*on_end)(void *arg, bool complete),
                                    void *arg)
{
    struct sink_options options = choose(req, api, STREAM_LINES);

    options.on_end = on_end;
    options.arg = arg;
    return begin(req, ch, run_id, &options);
}

const char *api_since(struct http_req *req)
{
    const char *text = http_req_header(req, "Last-Event-ID");

    return text != NULL ? text : http_req_query(req, "since", 0);
}

static int take_since(struct http_req *req, struct sink_position *since, struct err *err)
{
    const char *text = api_since(req);

    if (text == NULL || sink_position_parse(text, since) == 0)
        return 0;
    return err_set(err, ERR_INVALID_QUERY, EINVAL,
                   "since: expected the id of an event, such as 17.2048.0, got '%.40s'", text);
}

enum http_result h_stream(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    bool verbatim = false;
    struct channel *ch = archive_find(api->archive, id, &verbatim);
    struct sink_position since = {0};
    struct channel_stats stats;
    struct err err = {0};

    if (ch == NULL)
        return http_resp_fail(req, ERR_STREAM_NOT_FOUND,
                              "no stream of '%.64s': unknown, or it ended too long ago", id);
    if (take_since(req, &since, &err) < 0)
        return http_resp_error(req, &err);
    channel_get_stats(ch, &stats);
    if (since.seq > stats.last_seq) /* all that comes would be taken for known, the end too */
        return http_resp_fail(req, ERR_INVALID_QUERY, "since: the run has no event %llu yet",
                              (unsigned long long)since.seq);
    if (channel_is_closed(ch) && since.seq == stats.last_seq)
        return http_resp_empty(req, 204); /* nothing will follow: an EventSource stays away */
    struct sink_options options = choose(req, api, verbatim ? STREAM_VERBATIM : STREAM_LINES);
    options.since = since;
    http_resp_header(req, "X-Execd-Run-Id", id);
    return sink_sse_start(req, ch, &options);
}
