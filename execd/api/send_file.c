#include "execd/api/send_file.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/api/errors.h"
#include "proto/base/codec.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"
#include "proto/http/resp.h"

#define PIECE (256 * 1024 - 512) /* with the buffer's own overhead a power of two */
#define HASHED_PIECE (64 * 1024) /* a few hundred microseconds of the loop */
#define SHA256_FIELD "X-Execd-Sha256"
#define WINDOW (1024 * 1024) /* looked up in the page cache at once */

/*
 * One file on its way to one client. While `loading`, the pool reads ahead from the descriptor, so the transfer
 * lives until it is back.
 */
struct transfer {
    struct http_req *req;   /* NULL once the response is over */
    struct work_pool *pool; /* borrowed */
    struct file_source source;
    uint64_t offset, left; /* left = UINT64_MAX: a pseudo file, until EOF */
    uint64_t cached_until; /* offset up to which the page cache was looked at */
    size_t window;         /* bytes that the pool brings near */
    bool loading;
    bool hashed; /* every byte passes through here, for the trailer */
    struct sha256_ctx hash;
    struct evbuffer *out; /* owned scratch */
};

static void destroy(struct transfer *t)
{
    file_source_done(&t->source);
    if (t->out != NULL)
        evbuffer_free(t->out);
    free(t);
}

static void load_in_pool(void *arg)
{
    struct transfer *t = arg;

    file_source_load(t->source.fd, t->offset, t->window);
}

static void on_loaded(void *arg)
{
    struct transfer *t = arg;

    t->loading = false;
    if (t->req == NULL)
        destroy(t);
    else
        http_resp_wake(t->req);
}

/* False: the pool was asked, and wakes the response. A full pool makes the loop read itself, which is slow and right. */
static bool is_near(struct transfer *t)
{
    if (t->source.pseudo || t->offset < t->cached_until)
        return true;
    t->window = (size_t)MIN(t->left, (uint64_t)WINDOW);
    t->cached_until = t->offset + t->window;
    if (file_source_is_cached(&t->source, t->offset, t->window))
        return true;
    t->loading = work_post(t->pool, load_in_pool, on_loaded, t) == 0;
    return !t->loading;
}

/* A truncation during a read shortens the file first and clears what lies behind its new end then: bytes that were
 * read before the file is found long enough are the file's. */
static bool reaches(const struct transfer *t, size_t n)
{
    struct stat st;

    return t->source.pseudo ||
           (fstat(t->source.fd, &st) == 0 && (uint64_t)st.st_size >= t->offset + n);
}

/* Reads straight into the memory that is sent. */
static ssize_t copy_piece(struct transfer *t, size_t n)
{
    struct evbuffer_iovec room;

    if (evbuffer_reserve_space(t->out, (ev_ssize_t)n, &room, 1) != 1)
        return -ENOMEM;
    /* Pseudo files are read in sequence: offsets mean nothing to some of them. */
    ssize_t got = t->source.pseudo ? read(t->source.fd, room.iov_base, n)
                                   : pread(t->source.fd, room.iov_base, n, (off_t)t->offset);
    if (got < 0)
        return -errno;
    if (!reaches(t, (size_t)got))
        return 0;
    if (t->hashed)
        sha256_update(&t->hash, (size_t)got, room.iov_base);
    room.iov_len = (size_t)got;
    if (evbuffer_commit_space(t->out, &room, 1) < 0)
        return -ENOMEM;
    http_resp_write_buffer(t->req, t->out);
    return got;
}

static ssize_t send_piece(struct transfer *t)
{
    uint64_t tail = http_resp_sendfile_tail(t->req);

    if (!t->source.pseudo && t->left > tail) {
        size_t n = (size_t)MIN(t->left - tail, t->cached_until - t->offset);
        ssize_t sent = http_resp_sendfile(t->req, t->source.fd, t->offset, n);
        if (sent != -EINVAL) /* a file system that cannot */
            return sent;
    }
    return copy_piece(t, (size_t)MIN(t->left, (uint64_t)(t->hashed ? HASHED_PIECE : PIECE)));
}

static void finish(struct transfer *t)
{
    uint8_t digest[SHA256_LEN];
    char hex[SHA256_HEX_LEN + 1];

    if (t->hashed) {
        sha256_digest(&t->hash, sizeof(digest), digest);
        codec_hex(digest, sizeof(digest), hex);
        http_resp_trailer(t->req, SHA256_FIELD, hex);
    }
    http_resp_end(t->req);
}

static void proceed(void *arg)
{
    struct transfer *t = arg;

    while (t->left > 0 && http_resp_wants_more(t->req)) {
        if (t->loading || !is_near(t))
            return;
        ssize_t n = send_piece(t);
        if (n == -EAGAIN)
            return;
        if (n == 0 && t->source.pseudo)
            t->left = 0; /* its end */
        else if (n <= 0) {
            http_resp_abort(t->req); /* shorter than promised: the client must see a cut */
            return;
        }
        t->offset += (uint64_t)n;
        if (!t->source.pseudo)
            t->left -= (uint64_t)n;
    }
    if (t->left == 0)
        finish(t);
}

static void stop(void *arg)
{
    struct transfer *t = arg;

    t->req = NULL;
    if (!t->loading)
        destroy(t);
}

enum http_result api_send_file(struct http_req *req, struct work_pool *pool,
                               struct file_source *source, const struct send_part *part)
{
    static const struct http_producer producer = {proceed, stop};
    struct transfer *t = xnew(struct transfer);
    bool declared = !source->pseudo && !part->sha256;

    *t = (struct transfer){.req = req,
                           .pool = pool,
                           .source = *source,
                           .offset = part->first,
                           .left = source->pseudo ? UINT64_MAX : part->length,
                           .hashed = part->sha256,
                           .out = evbuffer_new()};
    sha256_init(&t->hash);
    if (t->out == NULL) {
        destroy(t);
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the transfer");
    }
    if (part->sha256)
        http_resp_header(req, "Trailer", SHA256_FIELD);
    return http_resp_begin(req, part->status, "application/octet-stream",
                           declared ? (int64_t)part->length : -1, &producer, t);
}
