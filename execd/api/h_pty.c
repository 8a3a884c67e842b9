#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "execd/pty/attach.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"
#include "proto/http/ws_conn.h"
#include "proto/json/json_build.h"

/* Message prefixes of contracts/execd.md 1.4. */
#define PARSE_PREFIX "error parsing request: "
#define CREATE_PREFIX "error creating pty session: "

#define COMMAND_MAX 131071 /* bytes of one argument that the kernel takes, less its end */

static const struct jfield create_fields[] = {
    JFIELD(struct term_request, cwd, JFIELD_STRING, .max = 4095, .doc = "working directory"),
    JFIELD(struct term_request, command, JFIELD_STRING, .max = COMMAND_MAX,
           .doc = "text for the shell; none: interactive"),
    JFIELD(struct term_request, record, JFIELD_BOOL, .doc = "keep what it shows as asciicast"),
    JFIELD(struct term_request, cols, JFIELD_U32, .min = 1, .max = TERM_CELLS_MAX,
           .doc = "columns at the first start"),
    JFIELD(struct term_request, rows, JFIELD_U32, .min = 1, .max = TERM_CELLS_MAX,
           .doc = "rows at the first start"),
};

static const char *term_param(const struct http_req *req)
{
    return http_req_param(req, "sessionId");
}

static enum http_result not_found(struct http_req *req)
{
    return http_resp_fail(req, ERR_SESSION_NOT_FOUND, "pty session %.64s not found",
                          term_param(req));
}

static enum http_result fail(struct http_req *req, const char *prefix, const struct err *err)
{
    struct err named = *err;

    (void)snprintf(named.text, sizeof(named.text), "%s%.200s", prefix, err->text); /* fits */
    return http_resp_error(req, &named);
}

/* POST /pty */
enum http_result h_pty_create(struct http_req *req, void *app)
{
    struct api *api = app;
    struct slice body = http_req_body(req);
    struct term_request request = {0};
    struct term *t;
    struct term_info info;
    struct err err = {0};

    if (jfield_decode_text(create_fields, ARRAY_LEN(create_fields), body.ptr, body.len, true,
                           &request, http_req_arena(req), ERR_INVALID_REQUEST_BODY, NULL, &err) < 0)
        return fail(req, PARSE_PREFIX, &err);
    if (term_create(api->terms, &request, &t, &err) < 0)
        return fail(req, CREATE_PREFIX, &err);
    term_get_info(t, &info);
    if (http_resp_made(req, 201, json_pack("{s:s}", "session_id", info.id)) < 0)
        term_delete(t);
    return H_DONE;
}

static json_t *describe(const struct term *t)
{
    static const char *const modes[] = {[TERM_PTY] = "pty", [TERM_PIPE] = "pipe"};
    char created[CLOCK_RFC3339_MAX];
    struct term_info info;

    term_get_info(t, &info);
    clock_format_us(info.created_us, created);
    json_t *o = json_pack("{s:s, s:b, s:I, s:s, s:b, s:i, s:i, s:i, s:b, s:s}", "session_id",
                          info.id, "running", info.running, "output_offset",
                          (json_int_t)info.output_offset, "mode", modes[info.mode], "attached",
                          info.has_writer, "viewers", (int)info.viewers, "cols", (int)info.cols,
                          "rows", (int)info.rows, "recorded", info.recorded, "created_at", created);
    if (info.has_exited && !info.running)
        json_put(&o, "exit_code", json_integer(info.exit_code));
    return o;
}

/* GET /pty */
enum http_result h_pty_list(struct http_req *req, void *app)
{
    struct api *api = app;
    json_t *list = json_array();

    for (struct term *t = term_next(api->terms, NULL); t != NULL; t = term_next(api->terms, t))
        json_push(&list, describe(t));
    return http_resp_json(req, 200, list);
}

enum http_result h_pty_get(struct http_req *req, void *app)
{
    struct api *api = app;
    const struct term *t = term_find(api->terms, term_param(req));

    return t != NULL ? http_resp_json(req, 200, describe(t)) : not_found(req);
}

enum http_result h_pty_delete(struct http_req *req, void *app)
{
    struct api *api = app;
    struct term *t = term_find(api->terms, term_param(req));

    if (t == NULL)
        return not_found(req);
    term_delete(t);
    return http_resp_empty(req, 200);
}

/* ---- GET /pty/:sessionId/ws ---------------------------------------------------------------------- */

static bool query_is(struct http_req *req, const char *key, const char *value)
{
    const char *given = http_req_query(req, key, 0);

    return given != NULL && strcmp(given, value) == 0;
}

static int read_options(struct http_req *req, struct attach_options *ret, struct err *err)
{
    const char *since = http_req_query(req, "since", 0);

    *ret = (struct attach_options){.mode = query_is(req, "pty", "0") ? TERM_PIPE : TERM_PTY,
                                   .is_viewer = query_is(req, "viewer", "1")};
    if (since != NULL && since[0] != '\0' && str_to_u64(since, &ret->since) < 0)
        return err_set(err, ERR_INVALID_QUERY, EINVAL,
                       "since: '%.40s' is not an offset (0, 1, 2, ...)", since);
    return 0;
}

/* The present holder is told to go only when the request is a real upgrade. */
static int check_place(struct http_req *req, const struct term *t, bool is_viewer, struct err *err)
{
    bool may_take = query_is(req, "takeover", "1") && ws_is_upgrade(req);

    if (!is_viewer && term_has_writer(t) && !may_take)
        return err_set(err, ERR_TERMINAL_HELD, EBUSY,
                       "another client is already connected to pty session %.64s", term_param(req));
    return 0;
}

enum http_result h_pty_ws(struct http_req *req, void *app)
{
    struct api *api = app;
    struct term *t = term_find(api->terms, term_param(req));
    struct attach_options options;
    struct err err = {0};

    if (t == NULL)
        return not_found(req);
    if (read_options(req, &options, &err) < 0 || check_place(req, t, options.is_viewer, &err) < 0 ||
        ws_check_origin(req, api->allowed_origins, &err) < 0 || ws_check_handshake(req, &err) < 0 ||
        term_check_room(t, !options.is_viewer, &err) < 0 ||
        attach_start(req, t, &options, &err) < 0)
        return http_resp_error(req, &err);
    return H_DONE;
}

/* ---- GET /pty/:sessionId/recording --------------------------------------------------------------- */

/* What was there when the request came: the length is known, and the stream has an end. */
struct download {
    struct http_req *req;
    struct recording *recording; /* ref */
    size_t at, end;
};

static void download_proceed(void *arg)
{
    struct download *d = arg;
    struct slice piece = recording_read(d->recording, d->at);
    size_t n = MIN(piece.len, d->end - d->at);

    http_resp_write(d->req, piece.ptr, n);
    d->at += n;
    if (d->at == d->end)
        http_resp_end(d->req);
}

static void download_stop(void *arg)
{
    struct download *d = arg;

    recording_unref(d->recording);
    free(d);
}

enum http_result h_pty_recording(struct http_req *req, void *app)
{
    static const struct http_producer producer = {download_proceed, download_stop};
    struct api *api = app;
    const struct term *t = term_find(api->terms, term_param(req));

    if (t == NULL)
        return not_found(req);
    if (term_recording(t) == NULL)
        return http_resp_fail(req, ERR_NOT_RECORDED,
                              "pty session %.64s was made without \"record\": true",
                              term_param(req));
    struct download *d = xnew(struct download);
    *d = (struct download){.req = req, .recording = recording_ref(term_recording(t))};
    d->end = recording_len(d->recording);
    return http_resp_begin(req, 200, "application/x-asciicast", (int64_t)d->end, &producer, d);
}
