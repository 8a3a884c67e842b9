/* The request's body: framing, limits, and the three ways it is used (collected, streamed, dropped). */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/http/conn_priv.h"

#define COLLECT_FIRST 4096
#define READ_FULL 4096   /* what a bufferevent reads at once */
#define READ_AHEAD 57344 /* below the read watermark */

void conn_body_begin(struct conn *c)
{
    struct req_body *b = &c->req.body;
    const struct head *h = &c->req.head;

    b->max = UINT64_MAX; /* the route's limit comes with the route */
    b->left = h->content_length > 0 ? h->content_length : 0;
    b->done = !h->chunked && b->left == 0;
    b->continue_due = h->expect_continue && !b->done;
    chunked_init(&b->chunked);
    b->window_start_ms = conn_now_ms();
}

void conn_send_continue(struct conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (!c->req.body.continue_due)
        return;
    c->req.body.continue_due = false;
    /* Bytes that are here already prove that the client did not wait. */
    if (evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
        (void)evbuffer_add(bufferevent_get_output(c->bev), text,
                           sizeof(text) - 1); /* failing: it waits, then sends */
}

bool conn_body_is_awaited(const struct conn *c)
{
    const struct req_body *b = &c->req.body;

    if (b->done)
        return false;
    if (c->phase == CONN_ACTIVE)
        return b->reading && !b->paused;
    return c->phase == CONN_COLLECT || c->phase == CONN_FINISH;
}

static int too_large(struct conn *c, struct err *err)
{
    return err_set(err, ERR_BODY_TOO_LARGE, EFBIG, "the request body is larger than %llu bytes",
                   (unsigned long long)c->req.body.max);
}

static int take_chunked(struct conn *c, const char *p, size_t n, size_t *ret_used,
                        struct slice *ret_data, struct err *err)
{
    struct req_body *b = &c->req.body;

    switch (chunked_next(&b->chunked, p, n, ret_used, ret_data)) {
    case CHUNKED_END:
        b->done = true;
        /* fallthrough */
    case CHUNKED_MORE:
        *ret_data = (struct slice){NULL, 0};
        return 0;
    case CHUNKED_DATA:
        return 0;
    case CHUNKED_BAD:
        break;
    }
    return err_set(err, ERR_BAD_REQUEST, EBADMSG, "the chunked request body is malformed");
}

/* Finds the next run of body bytes in the input, to be drained by the caller after use (*ret_used bytes with
 * framing). 0 with an empty run: nothing to deliver from these bytes. -errno with err: the body broke off. */
static int peek_body(struct conn *c, size_t *ret_used, struct slice *ret_data, struct err *err)
{
    struct req_body *b = &c->req.body;
    struct evbuffer_iovec v = {NULL, 0};

    *ret_used = 0;
    *ret_data = (struct slice){NULL, 0};
    if (evbuffer_peek(bufferevent_get_input(c->bev), -1, NULL, &v, 1) < 1 || v.iov_len == 0) {
        if (!c->eof)
            return 0;
        return err_set(err, ERR_BAD_REQUEST, ECONNRESET, "the request body ended early");
    }
    if (c->req.head.chunked) {
        int r = take_chunked(c, v.iov_base, v.iov_len, ret_used, ret_data, err);

        if (r < 0)
            return r;
    } else {
        *ret_used = (int64_t)v.iov_len < b->left ? v.iov_len : (size_t)b->left;
        *ret_data = (struct slice){v.iov_base, *ret_used};
        b->left -= (int64_t)*ret_used;
        b->done = b->left == 0;
    }
    b->got += ret_data->len;
    b->window_got += *ret_used;
    return b->got > b->max ? too_large(c, err) : 0;
}

static int collect(struct req_body *b, struct slice data)
{
    if (b->len + data.len + 1 > b->cap) {
        size_t cap = MAX(b->cap * 2, MAX((size_t)COLLECT_FIRST, b->len + data.len + 1));
        char *p = realloc(b->data, cap);

        if (!p)
            return -ENOMEM;
        b->data = p;
        b->cap = cap;
    }
    memcpy(b->data + b->len, data.ptr, data.len);
    b->len += data.len;
    b->data[b->len] = '\0';
    return 0;
}

bool conn_step_collect(struct conn *c)
{
    struct req_body *b = &c->req.body;
    const struct route *route = c->req.match.route;
    struct slice data;
    struct err err = {0};
    size_t used;
    int r;

    if (b->done) {
        conn_dispatch(c);
        return true;
    }
    conn_send_continue(c);
    r = peek_body(c, &used, &data, &err);
    if (r == 0 && route->body == BODY_COLLECTED && data.len > 0 && collect(b, data) < 0)
        r = err_set(&err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a body of %zu bytes", b->len);
    if (r < 0) {
        conn_refuse(c, &err);
        return true;
    }
    (void)evbuffer_drain(bufferevent_get_input(c->bev), used); /* these bytes are there */
    return used > 0 || b->done;
}

/* Bufferevents read 4 KiB at a time. Behind a full read of a streamed body more is usually waiting: it is
 * fetched in one larger piece. Ends of stream and errors are left for the bufferevent to find. */
static bool read_ahead(struct conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_iovec v;
    ssize_t n;

    if (!c->direct || c->eof || c->broken || c->last_read < READ_FULL)
        return false;
    /* As with the output: frozen against others, and there are none on this thread. */
    (void)evbuffer_unfreeze(in, 0);
    n = -1;
    if (evbuffer_reserve_space(in, READ_AHEAD, &v, 1) == 1) {
        n = recv(c->fd, v.iov_base, MIN(v.iov_len, (size_t)READ_AHEAD), MSG_DONTWAIT);
        v.iov_len = n > 0 ? (size_t)n : 0;
        (void)evbuffer_commit_space(in, &v, 1); /* the same space */
    }
    (void)evbuffer_freeze(in, 0);
    if (n > 0)
        c->read_ms = conn_now_ms(); /* a FIN right behind these bytes is a half-close, too */
    c->last_read = n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* Tells the reader that the rest will not come; answers the error if the reader did not. */
void conn_body_broke(struct conn *c, const struct err *err)
{
    struct req_body *b = &c->req.body;

    c->closing = true;
    if (b->reading && !b->over) {
        b->over = true;
        b->ops.on_end(b->arg, err);
    }
    if (!c->req.resp.begun)
        (void)http_resp_error(&c->req, err); /* H_DONE: nobody to hand it to */
    else if (!c->req.resp.ended)
        http_resp_abort(&c->req);
}

bool conn_step_stream_body(struct conn *c)
{
    struct req_body *b = &c->req.body;
    struct slice data = {NULL, 0};
    struct err err = {0};
    size_t used = 0;
    int r = 0;

    if (!b->reading || b->paused || b->over)
        return false;
    if (!b->done) {
        r = peek_body(c, &used, &data, &err);
        if (r == 0 && used == 0 && read_ahead(c))
            r = peek_body(c, &used, &data, &err);
        if (r == 0 && data.len > 0)
            r = b->ops.on_data(b->arg, data.ptr, data.len, &err);
        if (r < 0) {
            conn_body_broke(c, &err);
            return true;
        }
        if (c->bev)
            (void)evbuffer_drain(bufferevent_get_input(c->bev), used); /* these bytes are there */
    }
    if (b->done && !b->over && !c->req.resp.ended) {
        b->over = true;
        b->ops.on_end(b->arg, NULL);
        return true;
    }
    return used > 0;
}

bool conn_step_discard(struct conn *c)
{
    struct req_body *b = &c->req.body;
    struct slice data;
    size_t used;

    if (b->done || c->closing)
        return false;
    if (b->dropped > CONN_DISCARD_MAX || b->left > CONN_DISCARD_MAX || b->continue_due) {
        c->closing = true;
        return true;
    }
    if (peek_body(c, &used, &data, NULL) < 0) {
        c->closing = true;
        return true;
    }
    (void)evbuffer_drain(bufferevent_get_input(c->bev), used); /* these bytes are there */
    b->dropped += used;
    return used > 0;
}
