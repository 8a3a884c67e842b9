/* GET /events: what happens in the sandbox, as a stream that can be taken up again where it broke off. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "execd/api/api.h"
#include "execd/api/stream.h"
#include "execd/events/bus.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"
#include "proto/http/sse.h"

#define FOLLOWERS_MAX 1024
#define PING_S 15

struct follower {
    struct http_req *req; /* valid until stop */
    struct events_reader reader;
    struct evbuffer *out; /* owned scratch */
    struct event *ping;   /* owned */
};

static unsigned n_followers;

static void proceed(void *arg)
{
    struct follower *f = arg;
    struct events_entry e;
    char id[24];

    while (http_resp_wants_more(f->req) && events_read(&f->reader, &e)) {
        snprintf(id, sizeof(id), "%llu", (unsigned long long)e.seq);
        sse_frame(f->out, SSE_STANDARD, id, e.type, e.json, e.len);
        http_resp_write_buffer(f->req, f->out);
    }
    if (events_closed() && f->reader.next > events_last())
        http_resp_end(f->req);
}

static void stop(void *arg)
{
    struct follower *f = arg;

    n_followers--;
    events_detach(&f->reader);
    if (f->ping != NULL)
        event_free(f->ping);
    if (f->out != NULL)
        evbuffer_free(f->out);
    free(f);
}

static void on_ready(void *arg)
{
    struct follower *f = arg;

    http_resp_wake(f->req);
}

/* Keeps proxies from giving up on a quiet stream; a client that is behind is not quiet. */
static void on_ping(evutil_socket_t fd, short what, void *arg)
{
    struct follower *f = arg;

    (void)fd;
    (void)what;
    if (http_resp_pending(f->req) == 0)
        http_resp_write(f->req, ": ping\n\n", 8);
}

/* Where to begin: the client's last event, the query, or with what comes. */
static int choose_start(struct http_req *req, uint64_t *ret_since, struct err *err)
{
    const char *text = api_since(req);

    *ret_since = events_last();
    if (text == NULL || str_to_u64(text, ret_since) == 0)
        return 0;
    return err_set(err, ERR_INVALID_QUERY, EINVAL, "since: '%.32s' is no event number", text);
}

enum http_result h_events(struct http_req *req, void *app)
{
    static const struct http_producer producer = {proceed, stop};
    static const struct timeval ping = {.tv_sec = PING_S};
    const struct api *api = app;
    struct err err = {0};
    uint64_t since;

    if (choose_start(req, &since, &err) < 0)
        return http_resp_error(req, &err);
    if (n_followers >= FOLLOWERS_MAX)
        return http_resp_fail(req, ERR_OVERLOADED, "%u clients follow the events already",
                              n_followers);
    struct follower *f = xnew(struct follower);
    n_followers++;
    f->req = req;
    f->out = evbuffer_new();
    f->ping = event_new(api->base, -1, EV_PERSIST, on_ping, f);
    if (f->out == NULL || f->ping == NULL || event_add(f->ping, &ping) < 0) {
        stop(f);
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for another stream");
    }
    events_attach(&f->reader, since, on_ready, f);
    sse_headers(req);
    return http_resp_begin(req, 200, NULL, -1, &producer, f); /* sse_headers named the type */
}
