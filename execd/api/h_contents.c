#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "execd/api/gateway.h"
#include "execd/gateway/contents.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"
#include "proto/http/resp.h"
#include "proto/http/uri.h"

#define HELD_MAX (256u << 20) /* bytes of bodies and answers at once */
#define WHOLE_MAX 65536       /* bytes of an answer that is handed over in one piece */
#define PIECE 65536

#define CHECKPOINTS "/checkpoints"
#define CHECKPOINT CHECKPOINTS "/checkpoint"

/* A request whose work is in the pool, then one whose answer is on its way. */
struct work {
    struct contents_call call;
    struct api *api;
    struct http_req *req; /* NULL once the client has left */
    char *type, *format;  /* owned; of call */
    char *body;           /* owned; of call */
    size_t held;          /* bytes that count against HELD_MAX */
    size_t sent;
};

static void hold(struct work *w, size_t bytes)
{
    w->api->contents_held += bytes - w->held;
    w->held = bytes;
}

static void work_done(struct work *w)
{
    hold(w, 0);
    contents_done(&w->call);
    free(w->type);
    free(w->format);
    free(w->body);
    free(w);
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static void proceed(void *arg)
{
    struct work *w = arg;
    size_t n = MIN(w->call.out.len - w->sent, (size_t)PIECE);
    http_resp_write(w->req, w->call.out.data + w->sent, n);
    w->sent += n;
    if (w->sent == w->call.out.len)
        http_resp_end(w->req);
}

static void stop(void *arg)
{
    work_done(arg);
}

static void set_location(struct http_req *req, const char *path)
{
    const char *address = uri_encode(http_req_arena(req), path, "/");
    if (address != NULL)
        http_resp_header(req, "Location",
                         arena_printf(http_req_arena(req), "/api/contents/%s", address));
}

/* True: w goes on with the answer, which ends it. */
static bool answer(struct work *w)
{
    static const struct http_producer producer = {proceed, stop};
    static const int statuses[] = {
        [CONTENTS_SHOWN] = 200, [CONTENTS_MADE] = 201, [CONTENTS_DONE] = 204};
    struct contents_call *call = &w->call;
    int status = statuses[call->outcome];
    if (call->err.code != ERR_NONE) {
        (void)http_resp_error(w->req, &call->err);
        return false;
    }
    if (call->location[0] != '\0')
        set_location(w->req, call->location);
    if (call->out.len == 0) {
        (void)http_resp_empty(w->req, status);
        return false;
    }
    if (call->out.len <= WHOLE_MAX) {
        (void)http_resp_data(w->req, status, "application/json", call->out.data, call->out.len);
        return false;
    }
    hold(w, call->out.len);
    if (w->api->contents_held > HELD_MAX) {
        (void)http_resp_fail(w->req, ERR_OVERLOADED, "too many documents at once, try again");
        return false;
    }
    (void)http_resp_begin(w->req, status, "application/json", (int64_t)call->out.len, &producer, w);
    return true;
}

/* ---- the work ------------------------------------------------------------------------------------ */

static void run(void *arg)
{
    struct work *w = arg;
    contents_run(&w->call);
}

static void on_closed(void *arg)
{
    struct work *w = arg;
    w->req = NULL;
}

static void on_run(void *arg)
{
    struct work *w = arg;
    free(w->body);
    w->body = NULL;
    hold(w, 0);
    if (w->req != NULL)
        http_req_on_close(w->req, NULL, NULL);
    if (w->req == NULL || !answer(w))
        work_done(w);
}

static bool take_suffix(char *path, const char *suffix)
{
    size_t len = strlen(path), n = strlen(suffix);
    if (len < n || strcmp(path + len - n, suffix) != 0)
        return false;
    path[len - n] = '\0';
    return true;
}

/* Checkpoints hang below the path of their file: the verb behind them is another one. */
static enum contents_verb verb_of(enum contents_verb verb, char *path)
{
    static const enum contents_verb lists[] = {
        [CONTENTS_GET] = CONTENTS_CHECKPOINTS, [CONTENTS_NEW] = CONTENTS_CHECKPOINT};
    static const enum contents_verb ones[] = {
        [CONTENTS_NEW] = CONTENTS_RESTORE, [CONTENTS_DELETE] = CONTENTS_FORGET};
    bool in_list = verb == CONTENTS_GET || verb == CONTENTS_NEW;
    bool in_one = verb == CONTENTS_NEW || verb == CONTENTS_DELETE;
    if (in_list && take_suffix(path, CHECKPOINTS))
        return lists[verb];
    if (in_one && take_suffix(path, CHECKPOINT))
        return ones[verb];
    return verb;
}

static char *copy_query(struct http_req *req, const char *key)
{
    const char *value = http_req_query(req, key, 0);
    return value != NULL && value[0] != '\0' ? xstrdup(value) : NULL;
}

static enum http_result start(struct http_req *req, struct api *api, enum contents_verb verb)
{
    struct slice body = http_req_body(req);
    const char *raw = http_req_param(req, "rest"), *content = http_req_query(req, "content", 0);
    const char *path;
    int rc = uri_decode_path(http_req_arena(req), raw, strlen(raw), &path);
    if (rc == -ENOMEM)
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the path");
    struct err err = {0};
    if (http_req_query_check(req, &err) < 0)
        return http_resp_error(req, &err);
    if (rc < 0 || strlen(path) >= PATH_MAX)
        return http_resp_fail(req, ERR_INVALID_PATH,
                              "the path is no clean text of at most %d bytes", PATH_MAX - 1);
    char *copy = body.len > 0 ? malloc(body.len) : NULL;
    if ((body.len > 0 && copy == NULL) || api->contents_held + body.len > HELD_MAX) {
        free(copy);
        return http_resp_fail(req, ERR_OVERLOADED, "too many documents at once, try again");
    }
    struct work *w = xnew(struct work);
    contents_init(&w->call);
    if (copy != NULL)
        memcpy(copy, body.ptr, body.len);
    w->api = api;
    w->req = req;
    w->body = copy;
    w->call.body = (struct slice){copy, body.len};
    (void)snprintf(w->call.path, sizeof(w->call.path), "%s", path); /* fits */
    w->call.verb = verb_of(verb, w->call.path);
    w->call.root = api->kernels.root;
    w->call.type = w->type = copy_query(req, "type");
    w->call.format = w->format = copy_query(req, "format");
    w->call.without_content = content != NULL && strcmp(content, "0") == 0;
    hold(w, body.len);
    if (work_post(api->pool, run, on_run, w) < 0) {
        work_done(w);
        return http_resp_fail(req, ERR_OVERLOADED, "too much disk work at once, try again");
    }
    http_req_on_close(req, on_closed, w);
    return H_WAIT;
}

enum http_result h_contents_get(struct http_req *req, void *app)
{
    return start(req, app, CONTENTS_GET);
}

enum http_result h_contents_new(struct http_req *req, void *app)
{
    return start(req, app, CONTENTS_NEW);
}

enum http_result h_contents_save(struct http_req *req, void *app)
{
    return start(req, app, CONTENTS_SAVE);
}

enum http_result h_contents_rename(struct http_req *req, void *app)
{
    return start(req, app, CONTENTS_RENAME);
}

enum http_result h_contents_delete(struct http_req *req, void *app)
{
    return start(req, app, CONTENTS_DELETE);
}
