/*
 * The answer to one request: whole, or as a stream that is pulled.
 *
 * Exactly one response per request. Whole answers end the request at once. A stream begins with
 * http_resp_begin; the connection then calls the producer's `proceed` whenever its unsent output is below the
 * low watermark, and `stop` exactly once when the response is over (after http_resp_end was flushed, on abort,
 * or because the peer is gone). A proceed that wrote nothing is not called again before http_resp_wake or the
 * next write. Writing above the high watermark is allowed but a producer must not go on.
 * HEAD: bodies are swallowed here. Thread rule: loop thread only.
 */
#pragma once

#include <jansson.h>

#include "proto/http/req.h"

/* Adds a field to the response that is to come. CR, LF and NUL in value are replaced by blanks.
 * Content-Length, Transfer-Encoding and Connection are set by the connection itself. A NULL value adds nothing: a
 * text that found no memory may be handed over as it is. */
void http_resp_header(struct http_req *req, const char *name, const char *value);
/* More than 64 KiB of fields were added: the later ones are missing. */
bool http_resp_header_overflowed(const struct http_req *req);

const char *http_status_reason(int status); /* "Not Found" */

/* Each returns H_DONE for `return http_resp_...(req, ...)`. */
enum http_result http_resp_empty(struct http_req *req,
                                 int status); /* Content-Length: 0 (none on 204/304) */
enum http_result http_resp_json(struct http_req *req, int status,
                                json_t *json); /* takes the reference; NULL: no memory for it */
/* The same where the answer alone tells of a thing that was made for it. -ENOMEM: it could not be said, the client was
 * refused (or cut off), and the caller has to undo it. */
int http_resp_made(struct http_req *req, int status, json_t *json) must_check;
enum http_result http_resp_data(struct http_req *req, int status, const char *type, const void *p,
                                size_t n);
/* Status and wire code from the error's row; after a stream began: aborts the connection instead. */
enum http_result http_resp_error(struct http_req *req, const struct err *err);
/* Shorthand: row's status, formatted message. */
enum http_result http_resp_fail(struct http_req *req, int err_code, const char *fmt, ...)
    printf_like(3, 4);

struct http_producer {
    void (*proceed)(void *arg);
    void (*stop)(void *arg);
};
/* producer may be NULL (everything is written from outside), so may its members. length < 0: chunked (HTTP/1.0 peers: until close). type NULL: none. Returns H_STREAM. */
enum http_result http_resp_begin(struct http_req *req, int status, const char *type, int64_t length,
                                 const struct http_producer *producer, void *arg);
/* A field that follows the body (RFC 9110 6.5), for what only the end tells; announce it by a Trailer field. Lost where
 * the answer is not chunked: a declared length, HTTP/1.0, HEAD. */
void http_resp_trailer(struct http_req *req, const char *name, const char *value);
void http_resp_write(struct http_req *req, const void *p, size_t n); /* copies */
void http_resp_write_buffer(struct http_req *req,
                            struct evbuffer *b); /* moves everything out of b */
/* Bytes of a file, from inside proceed only: hands at most n of them to the socket by sendfile(2). Returns how many,
 * 0 at the end of the file, -EAGAIN when proceed will be called again for more, or another -errno. The socket holds
 * the file's own pages until the peer has read them, so a truncation could still change them: the last
 * http_resp_sendfile_tail bytes of a response are to be read and written instead. What happens to the file before
 * they are read then shows as their absence, and nothing that was handed over is with the socket any more.
 * SIZE_MAX: not on this connection (only Unix sockets bound what is under way). */
size_t http_resp_sendfile_tail(const struct http_req *req);
ssize_t http_resp_sendfile(struct http_req *req, int fd, uint64_t offset, size_t n) must_check;
void http_resp_end(struct http_req *req); /* the last byte was written; terminator follows */
void http_resp_abort(
    struct http_req *req); /* cut the connection: the peer must notice that it is incomplete */
size_t http_resp_pending(const struct http_req *req); /* unsent bytes of this connection */
/* The same and what the kernel still holds for the peer: changes as long as the peer reads. */
size_t http_resp_unread(const struct http_req *req);
bool http_resp_wants_more(const struct http_req *req); /* below the high watermark */
/* Asks for another call of proceed (posted), after a producer had nothing to send. */
void http_resp_wake(struct http_req *req);
