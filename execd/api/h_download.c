#include <stdio.h>
#include <string.h>

#include "execd/api/api.h"
#include "execd/api/paths.h"
#include "execd/api/send_file.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/range.h"
#include "proto/http/resp.h"
#include "proto/http/uri.h"

#define NAME_MAX_BYTES 255

/* RFC 6266 and RFC 8187: quoted ASCII, plus filename* where the name has other characters. */
static void set_disposition(struct http_req *req, const char *path)
{
    const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    char plain[NAME_MAX_BYTES * 2 + 1];
    size_t p = 0;
    bool ascii = true;

    for (size_t i = 0; i < NAME_MAX_BYTES && name[i] != '\0'; i++) {
        unsigned char c = (unsigned char)name[i];
        bool text = c >= 0x20 && c < 0x7f;
        ascii = ascii && text;
        if (c == '"' || c == '\\')
            plain[p++] = '\\';
        plain[p++] = text ? (char)c : '_';
    }
    plain[p] = '\0';
    const char *value = NULL;
    const char *encoded = ascii ? NULL : uri_encode(http_req_arena(req), name, "");
    if (ascii)
        value = arena_printf(http_req_arena(req), "attachment; filename=\"%s\"", plain);
    else if (encoded != NULL)
        value = arena_printf(http_req_arena(req),
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

enum http_result h_file_download(struct http_req *req, void *app)
{
    const char *given = http_req_query(req, "path", 0);
    const char *range = http_req_header(req, "Range");
    struct api *api = app;
    struct file_source source = {.fd = -1};
    struct err err = {0};
    const char *path;
    uint64_t first = 0, last = 0;
    struct send_part part = {.status = 200};
    const char *sha256 = http_req_query(req, "sha256", 0);

    if (given == NULL)
        return http_resp_fail(req, ERR_MISSING_QUERY, "missing query parameter 'path'");
    if (sha256 != NULL && str_to_bool(sha256, &part.sha256) < 0)
        return http_resp_fail(req, ERR_INVALID_QUERY, "sha256: expected true or false, got '%.32s'",
                              sha256);
    if (api_path(http_req_arena(req), given, &path, &err) < 0 ||
        file_source_open(path, &source, &err) < 0)
        return http_resp_error(req, &err);
    uint64_t size = part.length = (uint64_t)source.st.st_size;
    set_disposition(req, path);
    if (source.pseudo) /* claims a size of 0 or a page: only reading tells (hardening F02) */
        return api_send_file(req, api->pool, &source, &part);
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
        part = (struct send_part){206, first, last - first + 1, part.sha256};
        break;
    case RANGE_NONE:
        break;
    }
    return api_send_file(req, api->pool, &source, &part);
}
