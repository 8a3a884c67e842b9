/* A relay's way back: the backend's answer becomes the response. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "proto/http/relay_head.h"
#include "proto/http/relay_priv.h"
#include "proto/http/upstream.h"
#include "proto/http/upstream_pool.h"
#include "proto/http/watch.h"

#define INTERIM_MAX 8

static void on_proceed(void *arg)
{
    struct relay *r = arg;

    if (r->up && !r->over && !(bufferevent_get_enabled(r->up) & EV_READ)) {
        watch_enable(r->up, EV_READ);
        bufferevent_trigger(r->up, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
    }
}

static void begin_response(struct relay *r)
{
    static const struct http_producer producer = {on_proceed, NULL};
    const struct head *h = &r->reply.head;

    r->answered = true;
    relay_head_pass_fields(r->req, h, r->location_prefix);
    if (http_resp_header_overflowed(r->req)) {
        relay_fail_text(r, ERR_BACKEND_RESPONSE_FAILED, EBADMSG,
                        "the backend's answer has too large a head");
        return;
    }
    (void)http_resp_begin(r->req, h->status, NULL, h->content_length, &producer, r); /* H_STREAM */
}

/* Both sides become bytes. The client's bufferevent leaves the connection, which ends the request. */
static void begin_tunnel(struct relay *r)
{
    struct http_server *server = r->req->conn->server;
    struct bufferevent *up, *client;
    struct err err = {0};

    if (server_check_sockets(server, &err) < 0) {
        relay_fail(r, &err);
        return;
    }
    up = take_ptr(&r->up);
    r->over = r->answered = true;
    client = http_req_hijack(r->req);
    if (!client) {
        bufferevent_free(up);
        return;
    }
    relay_head_write_switch(bufferevent_get_output(client), &r->reply.head);
    tunnel_start(server, client, up, r->idle_ms);
}

static void take_head(struct relay *r)
{
    const struct head *h = &r->reply.head;

    if (h->status == 101) {
        if (r->upgrade && head_is_websocket(h))
            begin_tunnel(r);
        else
            relay_fail_text(r, ERR_BACKEND_RESPONSE_FAILED, EBADMSG,
                            "the backend switched protocols unasked");
    } else if (h->status < 200) {
        if (++r->interim > INTERIM_MAX)
            relay_fail_text(r, ERR_BACKEND_RESPONSE_FAILED, EBADMSG,
                            "the backend sends interim answers only");
    } else {
        begin_response(r);
    }
}

/* Both sides are done with this exchange and nothing hangs over into the next. */
static bool may_serve_again(const struct relay *r)
{
    return !r->given && r->reply.head.keep_alive && !r->reply.until_close && !r->up_eof &&
           !r->up_deaf && (!r->has_body || r->body_sent) &&
           evbuffer_get_length(bufferevent_get_input(r->up)) == 0 &&
           evbuffer_get_length(bufferevent_get_output(r->up)) == 0;
}

static void end_response(struct relay *r)
{
    r->over = true;
    if (may_serve_again(r))
        upstream_pool_give(r->req->conn->server->upstreams, &r->target, take_ptr(&r->up));
    relay_close_backend(r);
    if (r->reply.trailers.len > 0 && strbuf_check(&r->reply.trailers) == 0)
        relay_head_pass_trailers(r->req, &r->reply.head, r->reply.trailers.data);
    http_resp_end(r->req);
}

void relay_pump(struct relay *r)
{
    while (!r->over && r->up) {
        struct evbuffer *in = bufferevent_get_input(r->up);
        struct slice data;
        struct err err = {0};
        size_t used;

        if (r->answered && !http_resp_wants_more(r->req)) {
            bufferevent_disable(r->up, EV_READ);
            return;
        }
        switch (reply_next(&r->reply, in, r->up_eof, &data, &used, &err)) {
        case REPLY_MORE:
            return;
        case REPLY_HEAD:
            take_head(r);
            break;
        case REPLY_DATA:
            http_resp_write(r->req, data.ptr, data.len);
            (void)evbuffer_drain(in, used); /* these bytes are there */
            break;
        case REPLY_END:
            end_response(r);
            return;
        case REPLY_BAD:
            relay_fail(r, &err);
            return;
        }
    }
}
