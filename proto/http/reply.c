#include "proto/http/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/api/errors.h"

void reply_init(struct reply *r, bool head_request, size_t head_max)
{
    memset(r, 0, sizeof(*r));
    r->no_body = head_request;
    r->head_max = head_max;
    strbuf_init(&r->trailers, 0);
    head_init(&r->head);
    head_scan_init(&r->scan, true, head_max, HEAD_FIELDS_MAX);
}

void reply_done(struct reply *r)
{
    free(r->buf);
    r->buf = NULL;
    strbuf_done(&r->trailers);
}

static enum reply_result fail(struct err *err, const char *what)
{
    (void)err_set(err, ERR_BACKEND_RESPONSE_FAILED, EBADMSG, "the backend's answer was broken: %s",
                  what); /* a value */
    return REPLY_BAD;
}

static void begin_body(struct reply *r)
{
    const struct head *h = &r->head;

    r->in_body = true;
    r->no_body |= h->status == 204 || h->status == 304;
    r->left = h->content_length;
    r->until_close = !h->chunked && h->content_length < 0;
    r->ended = r->no_body || r->left == 0;
    chunked_init(&r->chunked);
    r->chunked.trailers = &r->trailers;
}

static enum reply_result take_head(struct reply *r, struct evbuffer *in, struct err *err)
{
    size_t len = r->scan.total;
    struct err why = {0};

    free(r->buf);
    r->buf = malloc(len);
    if (!r->buf) {
        (void)err_set(err, ERR_OUT_OF_MEMORY, ENOMEM,
                      "no memory for a response head"); /* a value */
        return REPLY_BAD;
    }
    (void)evbuffer_remove(in, r->buf, len); /* these bytes are there */
    if (head_parse_response(&r->head, r->buf, len, &why) < 0)
        return fail(err, why.text);
    head_scan_init(&r->scan, true, r->head_max, HEAD_FIELDS_MAX);
    if (r->head.status >= 200)
        begin_body(r);
    return REPLY_HEAD;
}

static enum reply_result read_head(struct reply *r, struct evbuffer *in, bool eof, struct err *err)
{
    struct evbuffer_ptr at;
    struct evbuffer_iovec v;
    struct err why = {0};
    size_t used;

    while (r->scan.total < evbuffer_get_length(in)) {
        int done;

        if (evbuffer_ptr_set(in, &at, r->scan.total, EVBUFFER_PTR_SET) < 0 ||
            evbuffer_peek(in, -1, &at, &v, 1) < 1)
            break;
        done = head_scan_feed(&r->scan, v.iov_base, v.iov_len, &used, &why);
        if (done < 0)
            return fail(err, why.text);
        if (done == 1)
            return take_head(r, in, err);
    }
    return eof ? fail(err, "the connection closed before a response") : REPLY_MORE;
}

static enum reply_result read_chunked(struct reply *r, const struct evbuffer_iovec *v,
                                      struct slice *ret_data, size_t *ret_used, struct err *err)
{
    switch (chunked_next(&r->chunked, v->iov_base, v->iov_len, ret_used, ret_data)) {
    case CHUNKED_END:
        r->ended = true;
        /* fallthrough */
    case CHUNKED_MORE:
        *ret_data = (struct slice){NULL, 0};
        return REPLY_DATA; /* an empty run: framing to drain */
    case CHUNKED_DATA:
        return REPLY_DATA;
    case CHUNKED_BAD:
        break;
    }
    return fail(err, "malformed chunks");
}

enum reply_result reply_next(struct reply *r, struct evbuffer *in, bool eof, struct slice *ret_data,
                             size_t *ret_used, struct err *err)
{
    struct evbuffer_iovec v = {NULL, 0};

    *ret_used = 0;
    *ret_data = (struct slice){NULL, 0};
    if (!r->in_body)
        return read_head(r, in, eof, err);
    if (r->ended)
        return REPLY_END;
    if (evbuffer_peek(in, -1, NULL, &v, 1) < 1 || v.iov_len == 0) {
        if (!eof)
            return REPLY_MORE;
        return r->until_close ? REPLY_END
                              : fail(err, "the connection closed in the middle of the body");
    }
    if (r->head.chunked)
        return read_chunked(r, &v, ret_data, ret_used, err);
    *ret_used = r->until_close || (uint64_t)r->left > v.iov_len ? v.iov_len : (size_t)r->left;
    *ret_data = (struct slice){v.iov_base, *ret_used};
    if (!r->until_close) {
        r->left -= (int64_t)*ret_used;
        r->ended = r->left == 0;
    }
    return REPLY_DATA;
}
