/*
 * GET /metrics/watch: a sample every second, to any number of clients for the price of one.
 *
 * One timer and one sample serve all watchers; it runs only while there is one. A watcher that has not read its last
 * sample skips this one: it holds one unsent frame, never a queue, and whoever reads nothing at all falls to the
 * connection's stall deadline.
 */
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "execd/api/api.h"
#include "execd/metrics/sample_json.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/http/resp.h"
#include "proto/http/sse.h"
#include "proto/json/jfield.h"

#define WATCHERS_MAX 2048

struct watcher {
    struct http_req *req; /* valid until stop */
    LIST_ENTRY(watcher) link;
};

static LIST_HEAD(, watcher) watchers = LIST_HEAD_INITIALIZER(watchers);
static unsigned n_watchers;
static struct event *tick; /* owned; NULL while nobody watches */

static void stop(void *arg)
{
    struct watcher *w = arg;

    LIST_REMOVE(w, link);
    free(w);
    if (--n_watchers == 0 && tick != NULL) {
        event_free(tick);
        tick = NULL;
    }
}

/* The latest sample as one frame; NULL without memory (this second is skipped). */
static struct evbuffer *make_frame(const struct api *api)
{
    cleanup_json json_t *json = sample_to_json(sampler_get(api->sampler));
    struct evbuffer *frame = evbuffer_new();
    size_t len;
    cleanup_free char *text = json != NULL ? json_compact(json, &len) : NULL;

    if (frame != NULL && text != NULL) {
        sse_frame(frame, SSE_STANDARD, NULL, NULL, text, len);
        return frame;
    }
    if (frame != NULL)
        evbuffer_free(frame);
    return NULL;
}

static void send_frame(const struct watcher *w, struct evbuffer *frame)
{
    size_t len = evbuffer_get_length(frame);

    http_resp_write(w->req, evbuffer_pullup(frame, -1), len);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    const struct api *api = arg;
    struct evbuffer *frame = make_frame(api);
    struct watcher *w;

    (void)fd;
    (void)what;
    if (frame == NULL)
        return;
    LIST_FOREACH(w, &watchers, link)
    {
        if (http_resp_pending(w->req) == 0)
            send_frame(w, frame);
    }
    evbuffer_free(frame);
}

static bool start_tick(struct api *api)
{
    static const struct timeval second = {.tv_sec = 1};

    if (tick != NULL)
        return true;
    tick = event_new(api->base, -1, EV_PERSIST, on_tick, api);
    return tick != NULL && event_add(tick, &second) == 0;
}

void watch_metrics_close(void)
{
    struct watcher *w;

    LIST_FOREACH(w, &watchers, link)
    http_resp_end(w->req); /* stop runs later, from the loop */
}

enum http_result h_watch_metrics(struct http_req *req, void *app)
{
    static const struct http_producer producer = {.stop = stop};
    struct api *api = app;

    if (n_watchers >= WATCHERS_MAX)
        return http_resp_fail(req, ERR_OVERLOADED, "%u clients watch already", n_watchers);
    struct watcher *w = xnew(struct watcher);
    w->req = req;
    LIST_INSERT_HEAD(&watchers, w, link);
    n_watchers++;
    struct evbuffer *first = make_frame(api);
    if (first == NULL || !start_tick(api)) {
        if (first != NULL)
            evbuffer_free(first);
        stop(w);
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for another stream");
    }
    sse_headers(req);
    enum http_result result =
        http_resp_begin(req, 200, NULL, -1, &producer, w); /* sse_headers named the type */
    send_frame(w, first);
    evbuffer_free(first);
    return result;
}
