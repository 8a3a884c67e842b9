/* GET /files/watch: changes of a tree as a stream. The watch outlives its first reader for a while, so that a client
 * whose connection broke goes on at /streams/{id}. */
#include <errno.h>

#include "execd/api/api.h"
#include "execd/api/paths.h"
#include "execd/api/stream.h"
#include "execd/files/watch.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"

/* An EventSource that comes back here follows a new watch: what happened meanwhile is not known. */
static const char restarted[] = "{\"reason\":\"restarted\"}";

struct starter {
    struct http_req *req;
    struct api *api;     /* borrowed */
    struct watch *watch; /* borrowed; NULL once it stands on its own */
};

static void on_close(void *arg)
{
    struct starter *s = arg;

    if (s->watch != NULL)
        watch_cancel(s->watch);
    free(s);
}

static void on_started(void *arg, struct channel *ch, const char *id, const struct err *err)
{
    struct starter *s = arg;

    s->watch = NULL;
    if (err != NULL) {
        (void)http_resp_error(s->req, err);
        return;
    }
    archive_add(s->api->archive, id, ch, true);
    if (http_req_header(s->req, "Last-Event-ID") != NULL)
        channel_append(ch, EVENT_GAP, restarted, sizeof(restarted) - 1);
    (void)api_stream(s->req, s->api, channel_ref(ch), id, STREAM_CHANGES);
}

enum http_result h_file_watch(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *given = http_req_query(req, "path", 0);
    const char *recursive_text = http_req_query(req, "recursive", 0);
    bool recursive = false;
    struct err err = {0};
    const char *path;

    if (given == NULL)
        return http_resp_fail(req, ERR_MISSING_QUERY, "missing query parameter 'path'");
    if (recursive_text != NULL && str_to_bool(recursive_text, &recursive) < 0)
        return http_resp_fail(req, ERR_INVALID_QUERY,
                              "recursive: expected true or false, got '%.32s'", recursive_text);
    if (api_path(http_req_arena(req), given, &path, &err) < 0)
        return http_resp_error(req, &err);
    struct starter *s = xnew(struct starter);
    *s = (struct starter){.req = req, .api = api};
    if (watch_start(path, recursive, api->base, api->pool, on_started, s, &s->watch, &err) < 0) {
        free(s);
        return http_resp_error(req, &err);
    }
    http_req_on_close(req, on_close, s);
    return H_WAIT;
}
