/*
 * One HTTP response, read from a peer that is not trusted: head, then runs of body, then the end.
 *
 * Used by the relay and the client. Heads are checked by head_scan and parsed by llhttp like requests are;
 * bodies end by length, last chunk or close. Pure over an evbuffer. Thread rule: the owner's thread.
 * Source: RFC 9112 section 6.3.
 */
#pragma once

#include <event2/buffer.h>

#include "proto/base/str.h"
#include "proto/http/chunked.h"
#include "proto/http/head.h"
#include "proto/http/head_scan.h"

struct reply {
    struct head head; /* of the last complete head; strings in buf */
    struct head_scan scan;
    struct chunked chunked;
    struct strbuf trailers; /* of a chunked body, as chunked.h writes them; whole at REPLY_END */
    char *buf;              /* owned */
    size_t head_max;
    int64_t left;          /* of a declared length */
    bool in_body, no_body; /* no_body: the request was HEAD */
    bool until_close, ended;
};

enum reply_result {
    REPLY_MORE, /* wait for bytes */
    REPLY_HEAD, /* head is valid: interim (1xx) or final */
    REPLY_DATA, /* *ret_data is the next run of the body; drain *ret_used bytes from the input after use */
    REPLY_END, /* the response is complete */
    REPLY_BAD, /* err says why */
};

void reply_init(struct reply *r, bool head_request, size_t head_max);
void reply_done(struct reply *r);
enum reply_result reply_next(struct reply *r, struct evbuffer *in, bool eof, struct slice *ret_data,
                             size_t *ret_used, struct err *err);
