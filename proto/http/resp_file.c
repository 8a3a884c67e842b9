/* Bytes of a file from the page cache to the socket, without a copy of ours. */
#include <errno.h>
#include <sys/sendfile.h>

#include "proto/http/conn_priv.h"

#define COPY_SIZE 16384 /* of a piece that waits in our output for the socket */

size_t http_resp_sendfile_tail(const struct http_req *req)
{
    const struct conn *c = req->conn;
    socklen_t len = sizeof(int);
    int buffer;

    if (!c->bev || !c->direct || !c->local || req->resp.chunked ||
        getsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &buffer, &len) < 0)
        return SIZE_MAX;
    return (size_t)buffer + 2 * c->server->config.limits.out_high;
}

/* The socket is full: with this piece in the output, the loop tells when it takes more. */
static ssize_t queue_copy(struct http_req *req, int fd, uint64_t offset, size_t n)
{
    char piece[COPY_SIZE];
    ssize_t got = pread(fd, piece, MIN(n, sizeof(piece)), (off_t)offset);

    if (got > 0)
        http_resp_write(req, piece, (size_t)got);
    return got < 0 ? -errno : got;
}

ssize_t http_resp_sendfile(struct http_req *req, int fd, uint64_t offset, size_t n)
{
    struct conn *c = req->conn;
    off_t at = (off_t)offset;

    if (c->bev)
        conn_flush(c);
    if (!c->bev || c->broken)
        return -EPIPE;
    req->resp.drain_first = true; /* from now on proceed wants an empty output */
    if (conn_pending(c) > 0)
        return -EAGAIN;
    ssize_t sent = sendfile(c->fd, fd, &at, n);
    if (sent < 0 && errno == EAGAIN)
        return queue_copy(req, fd, offset, n);
    if (sent < 0)
        return -errno;
    resp_account(req, (size_t)sent);
    c->out_ms = conn_now_ms();
    return sent;
}
