#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "execd/api/api.h"
#include "execd/api/paths.h"
#include "execd/files/tar_pack.h"
#include "execd/files/tar_unpack.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/base/work.h"
#include "proto/http/resp.h"

/*
 * Folders as tar archives, both ways. The disk is touched by the worker pool only, one piece at a time: the next piece
 * is packed when the client has taken most of the one before, and read from it when the one before is on the disk.
 * While a piece is `running` everything but `req` belongs to the pool's thread.
 */
#define TARS_MAX 16
#define GATHER_MAX                                                                                 \
    (256 * 1024) /* bytes that wait while the pool works; one read of the connection may follow */
#define SKIPPED_FIELD "X-Execd-Skipped"

static unsigned n_tars;

static enum http_result refuse_more(struct http_req *req)
{
    return http_resp_fail(req, ERR_OVERLOADED, "more than %d archives at once", TARS_MAX);
}

static int archive_path(struct http_req *req, const char **ret_path, struct err *err)
{
    const char *given = http_req_query(req, "path", 0);

    if (given == NULL)
        return err_set(err, ERR_MISSING_QUERY, EINVAL, "missing query parameter 'path'");
    return api_path(http_req_arena(req), given, ret_path, err);
}

/* ---- GET ---- */

struct packer {
    struct http_req *req;   /* NULL once it is over */
    struct work_pool *pool; /* borrowed */
    char *path;             /* owned */
    struct pack *pack;      /* owned; NULL before the first piece */
    struct evbuffer *out;   /* owned */
    int result;             /* of the last piece: 1 more, 0 end, -errno */
    struct err err;
    bool begun, running;
};

static void packer_free(struct packer *p)
{
    pack_free(p->pack);
    if (p->out != NULL)
        evbuffer_free(p->out);
    free(p->path);
    free(p);
    n_tars--;
}

static void pack_in_pool(void *arg)
{
    struct packer *p = arg;

    p->result = p->pack != NULL ? 0 : pack_new(p->path, &p->pack, &p->err);
    if (p->result == 0)
        p->result = pack_fill(p->pack, p->out, &p->err);
}

static void pack_next(struct packer *p);

static void pack_proceed(void *arg)
{
    struct packer *p = arg;

    if (!p->running && p->result > 0)
        pack_next(p);
}

static void send_piece(struct packer *p)
{
    static const struct http_producer producer = {.proceed = pack_proceed};
    char skipped[24];

    if (!p->begun) {
        p->begun = true;
        http_resp_header(p->req, "Trailer", SKIPPED_FIELD);
        (void)http_resp_begin(p->req, 200, "application/x-tar", -1, &producer, p);
    }
    http_resp_write_buffer(p->req, p->out);
    if (p->result > 0)
        return;
    snprintf(skipped, sizeof(skipped), "%llu", (unsigned long long)pack_skipped(p->pack));
    http_resp_trailer(p->req, SKIPPED_FIELD, skipped);
    http_resp_end(p->req);
}

static void on_packed(void *arg)
{
    struct packer *p = arg;

    p->running = false;
    if (p->req == NULL)
        packer_free(p);
    else if (p->result < 0)
        (void)http_resp_error(p->req, &p->err); /* cuts an answer that has begun */
    else if (p->result > 0 && evbuffer_get_length(p->out) == 0)
        pack_next(p);
    else
        send_piece(p);
}

static void pack_next(struct packer *p)
{
    p->running = work_post(p->pool, pack_in_pool, on_packed, p) == 0;
    if (!p->running)
        (void)http_resp_fail(p->req, ERR_OVERLOADED, "too many file operations at once");
}

static void pack_closed(void *arg)
{
    struct packer *p = arg;

    p->req = NULL;
    if (!p->running)
        packer_free(p);
}

enum http_result h_tar_get(struct http_req *req, void *app)
{
    struct api *api = app;
    struct err err = {0};
    const char *path;

    if (archive_path(req, &path, &err) < 0)
        return http_resp_error(req, &err);
    if (n_tars == TARS_MAX)
        return refuse_more(req);
    struct packer *p = xnew(struct packer);
    n_tars++;
    *p = (struct packer){
        .req = req, .pool = api->pool, .path = xstrdup(path), .out = evbuffer_new()};
    http_req_on_close(req, pack_closed, p);
    if (p->out == NULL)
        (void)http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the archive");
    else
        pack_next(p);
    return H_WAIT;
}

/* ---- POST ---- */

struct unpacker {
    struct http_req *req;   /* NULL once it is over */
    struct work_pool *pool; /* borrowed */
    char *path;             /* owned */
    struct unpack_options options;
    struct unpack *unpack;  /* owned; NULL before the first piece */
    struct strbuf piece;    /* what the pool works on */
    struct strbuf gathered; /* what comes meanwhile; loop thread only */
    bool ended;             /* the body; loop thread only */
    bool last;              /* nothing is left but to finish: set before the pool runs */
    bool running;
    struct unpack_counts counts;
    int result; /* 0 or -errno, with err */
    struct err err;
};

static void unpacker_free(struct unpacker *u)
{
    unpack_free(u->unpack);
    strbuf_done(&u->piece);
    strbuf_done(&u->gathered);
    free(u->path);
    free(u);
    n_tars--;
}

static void unpack_in_pool(void *arg)
{
    struct unpacker *u = arg;

    if (u->unpack == NULL)
        u->result = unpack_new(u->path, &u->options, &u->unpack, &u->err);
    if (u->result == 0)
        u->result = unpack_feed(u->unpack, u->piece.data, u->piece.len, &u->err);
    if (u->result == 0 && u->last)
        u->result = unpack_finish(u->unpack, &u->counts, &u->err);
}

static enum http_result answer(struct unpacker *u)
{
    if (u->result < 0)
        return http_resp_error(u->req, &u->err);
    return http_resp_json(u->req, 200,
                          json_pack("{s:I,s:I}", "members", (json_int_t)u->counts.members, "bytes",
                                    (json_int_t)u->counts.bytes));
}

static bool post_piece(struct unpacker *u);

static void on_unpacked(void *arg)
{
    struct unpacker *u = arg;

    u->running = false;
    if (u->req == NULL) {
        unpacker_free(u);
        return;
    }
    if (u->result < 0 || u->last) {
        (void)answer(u);
        return;
    }
    if ((u->gathered.len == 0 && !u->ended) || post_piece(u))
        http_req_resume_body(u->req);
}

/* The two buffers change places: the loop gathers into the one while the pool works on the other. False: answered. */
static bool post_piece(struct unpacker *u)
{
    struct strbuf piece = u->gathered;

    u->gathered = u->piece;
    u->piece = piece;
    strbuf_reset(&u->gathered);
    u->last = u->ended && u->piece.len == 0;
    u->running = work_post(u->pool, unpack_in_pool, on_unpacked, u) == 0;
    if (u->running)
        return true;
    u->result = err_set(&u->err, ERR_OVERLOADED, EAGAIN, "too many file operations at once");
    (void)answer(u);
    return false;
}

static int on_body(void *arg, const char *p, size_t n, struct err *err)
{
    struct unpacker *u = arg;

    strbuf_add(&u->gathered, p, n);
    if (strbuf_check(&u->gathered) < 0)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the archive");
    if (u->gathered.len >= GATHER_MAX)
        http_req_pause_body(u->req);
    if (u->running || post_piece(u))
        return 0;
    *err = u->err;
    return u->result;
}

static void on_body_end(void *arg, const struct err *err)
{
    struct unpacker *u = arg;

    if (err != NULL)
        return; /* the connection answers; what has been extracted stays */
    u->ended = true;
    if (!u->running)
        (void)post_piece(u); /* it has answered otherwise */
}

static void unpack_closed(void *arg)
{
    struct unpacker *u = arg;

    u->req = NULL;
    if (!u->running)
        unpacker_free(u);
}

static int read_flag(struct http_req *req, const char *key, bool *ret_flag, struct err *err)
{
    const char *text = http_req_query(req, key, 0);

    if (text == NULL || str_to_bool(text, ret_flag) == 0)
        return 0;
    return err_set(err, ERR_INVALID_QUERY, EINVAL, "%s: expected true or false, got '%.32s'", key,
                   text);
}

enum http_result h_tar_post(struct http_req *req, void *app)
{
    static const struct http_body_ops body_ops = {on_body, on_body_end};
    struct api *api = app;
    struct unpack_options options = {0};
    struct err err = {0};
    const char *path;

    if (archive_path(req, &path, &err) < 0 ||
        read_flag(req, "keep_owner", &options.keep_owner, &err) < 0 ||
        read_flag(req, "keep_set_id", &options.keep_set_id, &err) < 0)
        return http_resp_error(req, &err);
    if (n_tars == TARS_MAX)
        return refuse_more(req);
    struct unpacker *u = xnew(struct unpacker);
    n_tars++;
    *u =
        (struct unpacker){.req = req, .pool = api->pool, .path = xstrdup(path), .options = options};
    strbuf_init(&u->piece, 0);
    strbuf_init(&u->gathered, 0);
    http_req_on_close(req, unpack_closed, u);
    http_req_read_body(req, &body_ops, u);
    return H_WAIT;
}
