#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/api/api.h"
#include "execd/api/paths.h"
#include "execd/files/download.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/http/range.h"
#include "proto/http/resp.h"

#define CHUNK (256 * 1024)
#define NAME_MAX_BYTES 255

/* One file on its way to one client. */
struct transfer {
    struct http_req *req;
    struct file_source source;
    uint64_t offset, left; /* left = UINT64_MAX: a pseudo file, until EOF */
    char *buffer;          /* owned, CHUNK bytes */
};

static void transfer_stop(void *arg)
{
    struct transfer *t = arg;

    file_source_done(&t->source);
    free(t->buffer);
    free(t);
}

static void transfer_proceed(void *arg)
{
    struct transfer *t = arg;

    bool at_eof = false;

    while (t->left > 0 && http_resp_wants_more(t->req)) {
        size_t want = (size_t)MIN(t->left, (uint64_t)CHUNK);
        /* Pseudo files are read in sequence: offsets mean nothing to some of them. */
        ssize_t n = t->source.pseudo ? read(t->source.fd, t->buffer, want)
                                     : pread(t->source.fd, t->buffer, want, (off_t)t->offset);
        at_eof = n == 0 && t->source.pseudo;
        if (at_eof)
            break;
        if (n <=
            0) { /* it shrank or broke: the promised length cannot be kept, so the client must see a cut */
            http_resp_abort(t->req);
            return;
        }
        http_resp_write(t->req, t->buffer, (size_t)n);
        t->offset += (uint64_t)n;
        if (!t->source.pseudo)
            t->left -= (uint64_t)n;
    }
    if (t->left == 0 || at_eof)
        http_resp_end(t->req);
}

static const struct http_producer transfer_producer = {transfer_proceed, transfer_stop};

/* RFC 6266 and RFC 8187: quoted ASCII, plus filename* where the name has other characters. */
static void set_disposition(struct http_req *req, const char *path)
{
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    char plain[NAME_MAX_BYTES * 2 + 1], encoded[NAME_MAX_BYTES * 3 + 1];
    size_t p = 0, e = 0;
    bool ascii = true;

    for (size_t i = 0; name[i] != '\0' && i < NAME_MAX_BYTES; i++) {
        unsigned char c = (unsigned char)name[i];
        bool text = c >= 0x20 && c < 0x7f;
        ascii = ascii && text;
        if (c == '"' || c == '\\')
            plain[p++] = '\\';
        plain[p++] = text ? (char)c : '_';
        if (isalnum(c) && c < 0x80)
            encoded[e++] = (char)c;
        else
            e += (size_t)snprintf(encoded + e, 4, strchr("-._~", c) != NULL ? "%c" : "%%%02X", c);
    }
    plain[p] = encoded[e] = '\0';
    const char *value =
        ascii ? arena_printf(http_req_arena(req), "attachment; filename=\"%s\"", plain)
              : arena_printf(http_req_arena(req),
                             "attachment; filename=\"%s\"; filename*=UTF-8''%s", encoded, encoded);
    http_resp_header(req, "Content-Disposition", value != NULL ? value : "attachment");
}

static void set_validators(struct http_req *req, const struct stat *st)
{
    char modified[CLOCK_RFC3339_MAX];

    clock_format_http(st->st_mtim.tv_sec, modified);
    http_resp_header(req, "Last-Modified", modified);
    http_resp_header(req, "Accept-Ranges", "bytes");
    http_resp_header(
        req, "ETag",
        arena_printf(http_req_arena(req), "\"%llx-%llx-%lx\"", (unsigned long long)st->st_size,
                     (unsigned long long)st->st_mtim.tv_sec, (unsigned long)st->st_mtim.tv_nsec));
}

/* RFC 9110 13.1.3: only the date form; entity tags are compared by nobody who calls this route. */
static bool not_modified(struct http_req *req, const struct stat *st)
{
    const char *since = http_req_header(req, "If-Modified-Since");
    time_t t;

    return since != NULL && http_req_header(req, "If-None-Match") == NULL &&
           clock_parse_http(since, &t) == 0 && st->st_mtim.tv_sec <= t;
}

static enum http_result refuse_range(struct http_req *req, struct file_source *source,
                                     const char *range, bool malformed)
{
    const char *size =
        arena_printf(http_req_arena(req), "bytes */%lld", (long long)source->st.st_size);

    file_source_done(source);
    http_resp_header(req, "Content-Range", size != NULL ? size : "bytes */*");
    return http_resp_fail(
        req, ERR_RANGE_NOT_SATISFIABLE,
        malformed ? "Range '%.64s' is malformed" : "Range '%.64s' is outside the file", range);
}

static enum http_result send_file(struct http_req *req, struct file_source *source, int status,
                                  uint64_t first, uint64_t length)
{
    struct transfer *t = xnew(struct transfer);

    *t = (struct transfer){.req = req,
                           .source = *source,
                           .offset = first,
                           .left = source->pseudo ? UINT64_MAX : length};
    t->buffer = malloc(CHUNK);
    if (t->buffer == NULL) {
        transfer_stop(t);
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the transfer");
    }
    return http_resp_begin(req, status, "application/octet-stream",
                           t->source.pseudo ? -1 : (int64_t)length, &transfer_producer, t);
}

enum http_result h_file_download(struct http_req *req, void *app)
{
    const char *given = http_req_query(req, "path", 0);
    const char *range = http_req_header(req, "Range");
    struct file_source source = {.fd = -1};
    struct err err = {0};
    const char *path;
    uint64_t first = 0, last = 0;

    (void)app;
    if (given == NULL)
        return http_resp_fail(req, ERR_MISSING_QUERY, "missing query parameter 'path'");
    if (api_path(http_req_arena(req), given, &path, &err) < 0 ||
        file_source_open(path, &source, &err) < 0)
        return http_resp_error(req, &err);
    uint64_t size = (uint64_t)source.st.st_size;
    set_disposition(req, path);
    if (source.pseudo) /* claims a size of 0 or a page: only reading tells (hardening F02) */
        return send_file(req, &source, 200, 0, 0);
    set_validators(req, &source.st);
    if (not_modified(req, &source.st)) {
        file_source_done(&source);
        return http_resp_empty(req, 304);
    }
    switch (range_parse(range, size, &first, &last)) {
    case RANGE_MALFORMED:
        return refuse_range(req, &source, range, true);
    case RANGE_UNSATISFIABLE:
        return refuse_range(req, &source, range, false);
    case RANGE_PARTIAL:
        http_resp_header(req, "Content-Range",
                         arena_printf(http_req_arena(req), "bytes %llu-%llu/%llu",
                                      (unsigned long long)first, (unsigned long long)last,
                                      (unsigned long long)size));
        return send_file(req, &source, 206, first, last - first + 1);
    case RANGE_NONE:
        break;
    }
    return send_file(req, &source, 200, 0, size);
}
