#include "execd/api/api.h"
#include "execd/api/paths.h"
#include "execd/files/search.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"

/*
 * A result that fits one piece is answered whole. A larger one is streamed: the next piece is worked out when the
 * client has taken most of the one before, and whether a budget cut it is told behind it.
 */
#define CUT_FIELD "X-Execd-Truncated"

struct finder {
    struct http_req *req;
    struct search *search; /* owned */
    bool begun;            /* the response */
    bool working;          /* a piece is on its way */
};

static void on_piece(void *arg, const struct search_piece *piece);

static void on_close(void *arg)
{
    struct finder *f = arg;

    search_free(f->search);
    free(f);
}

static void next_piece(struct finder *f)
{
    struct err err = {0};

    f->working = true;
    if (search_step(f->search, on_piece, f, &err) < 0)
        (void)http_resp_error(f->req, &err); /* cuts a response that has begun */
}

static void proceed(void *arg)
{
    struct finder *f = arg;

    if (!f->working)
        next_piece(f);
}

static const struct http_producer producer = {.proceed = proceed};

static void answer_whole(struct finder *f, const struct search_piece *piece)
{
    struct strbuf text;

    strbuf_init(&text, 0);
    strbuf_addc(&text, '[');
    strbuf_add(&text, piece->json.ptr, piece->json.len);
    strbuf_addc(&text, ']');
    if (piece->cut)
        http_resp_header(f->req, CUT_FIELD, "true");
    if (strbuf_check(&text) < 0)
        (void)http_resp_fail(f->req, ERR_OUT_OF_MEMORY, "no memory for the result");
    else
        (void)http_resp_data(f->req, 200, "application/json", text.data, text.len);
    strbuf_done(&text);
}

static void stream_piece(struct finder *f, const struct search_piece *piece)
{
    if (!f->begun) {
        f->begun = true;
        http_resp_header(f->req, "Trailer", CUT_FIELD);
        (void)http_resp_begin(f->req, 200, "application/json", -1, &producer, f);
        http_resp_write(f->req, "[", 1);
    }
    http_resp_write(f->req, piece->json.ptr, piece->json.len);
    if (!piece->last)
        return;
    http_resp_write(f->req, "]", 1);
    if (piece->cut)
        http_resp_trailer(f->req, CUT_FIELD, "true");
    http_resp_end(f->req);
}

static void on_piece(void *arg, const struct search_piece *piece)
{
    struct finder *f = arg;

    f->working = piece->last; /* nothing comes after the last one */
    if (piece->err != NULL)
        (void)http_resp_error(f->req, piece->err);
    else if (piece->last && !f->begun)
        answer_whole(f, piece);
    else
        stream_piece(f, piece);
}

static enum http_result run(struct http_req *req, struct search *search)
{
    struct finder *f = xnew(struct finder);

    *f = (struct finder){.req = req, .search = search};
    http_req_on_close(req, on_close, f);
    next_piece(f);
    return H_WAIT;
}

enum http_result h_dir_list(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *given = http_req_query(req, "path", 0);
    const char *depth_text = http_req_query(req, "depth", 0);
    int64_t depth = 1;
    struct search *search;
    struct err err = {0};
    const char *path;

    if (given == NULL || given[0] == '\0')
        return http_resp_fail(req, ERR_MISSING_QUERY, "missing query parameter 'path'");
    if (depth_text != NULL && (str_to_i64(depth_text, &depth) < 0 || depth < 0))
        return http_resp_fail(req, ERR_INVALID_QUERY, "invalid query parameter 'depth': %.64s",
                              depth_text);
    if (api_path(http_req_arena(req), given, &path, &err) < 0 ||
        search_new_list(path, depth, api->pool, &search, &err) < 0)
        return http_resp_error(req, &err);
    return run(req, search);
}

enum http_result h_file_search(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *given = http_req_query(req, "path", 0);
    const char *pattern = http_req_query(req, "pattern", 0);
    struct search *search;
    struct err err = {0};
    const char *path;

    if (given == NULL)
        return http_resp_fail(req, ERR_MISSING_QUERY, "missing query parameter 'path'");
    if (api_path(http_req_arena(req), given, &path, &err) < 0 ||
        search_new(path, pattern != NULL && pattern[0] != '\0' ? pattern : "**", api->pool, &search,
                   &err) < 0)
        return http_resp_error(req, &err);
    return run(req, search);
}
