#include <errno.h>
#include <stdlib.h>

#include "execd/api/api.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"

/* One request body on its way into a command's standard input. */
struct input {
    struct http_req *req; /* NULL once the request is over */
    struct api *api;
    char id[64];
    bool close; /* end of input behind this body */
    struct feed_waiter room;
};

/* The command may be forgotten while the body arrives: it is looked up each time. */
static struct feed *find_feed(const struct input *in)
{
    struct command *c = command_find(in->api->commands, in->id);

    return c != NULL ? command_stdin(c) : NULL;
}

static int closed(const char *id, struct err *err)
{
    return err_set(err, ERR_STDIN_CLOSED, EPIPE,
                   "the standard input of %.64s is closed (start the command with stdin_open)", id);
}

static void on_room(void *arg);

static int on_data(void *arg, const char *p, size_t n, struct err *err)
{
    struct input *in = arg;
    struct feed *feed = find_feed(in);
    int rc = feed != NULL ? feed_write(feed, p, n) : -EPIPE;

    if (rc == -EPIPE)
        return closed(in->id, err);
    if (rc < 0)
        return err_set(err, ERR_OUT_OF_MEMORY, -rc, "no memory for the input");
    if (!feed_has_room(feed)) {
        http_req_pause_body(in->req);
        feed_await_room(feed, &in->room);
    }
    return 0;
}

static void on_end(void *arg, const struct err *err)
{
    struct input *in = arg;
    struct feed *feed = find_feed(in);

    if (err != NULL) {
        (void)http_resp_error(in->req, err);
        return;
    }
    if (in->close && feed != NULL)
        feed_close(feed);
    (void)http_resp_empty(in->req, 200);
}

static void on_gone(void *arg)
{
    struct input *in = arg;
    struct feed *feed = find_feed(in);

    in->req = NULL;
    if (feed != NULL)
        feed_forget(feed, &in->room);
    free(in);
}

/* What was sent before has its turn first: a body is not looked at until there is room for its first piece. */
static void on_room(void *arg)
{
    static const struct http_body_ops ops = {on_data, on_end};
    struct input *in = arg;

    if (in->req == NULL)
        return;
    http_req_read_body(in->req, &ops, in); /* only the first time */
    http_req_resume_body(in->req);
}

static int find_open(struct http_req *req, struct api *api, struct feed **ret, struct err *err)
{
    const char *id = http_req_param(req, "id");
    struct command *c = command_find(api->commands, id);

    if (c == NULL)
        return err_set(err, ERR_COMMAND_NOT_FOUND, ENOENT, "command not found: %.64s", id);
    *ret = command_stdin(c);
    return *ret != NULL && feed_is_open(*ret) ? 0 : closed(id, err);
}

enum http_result h_stdin_write(struct http_req *req, void *app)
{
    const char *close_text = http_req_query(req, "close", 0);
    struct feed *feed;
    struct err err = {0};
    bool close = false;

    if (find_open(req, app, &feed, &err) < 0)
        return http_resp_error(req, &err);
    if (close_text != NULL && str_to_bool(close_text, &close) < 0)
        return http_resp_fail(req, ERR_INVALID_QUERY, "close: expected true or false");
    struct input *in = xnew(struct input);
    in->req = req;
    in->api = app;
    in->close = close;
    in->room = (struct feed_waiter){.on_room = on_room, .arg = in};
    (void)snprintf(in->id, sizeof(in->id), "%s",
                   http_req_param(req, "id")); /* it was found by it */
    http_req_on_close(req, on_gone, in);
    if (feed_has_room(feed))
        on_room(in);
    else
        feed_await_room(feed, &in->room);
    return H_WAIT;
}

enum http_result h_stdin_close(struct http_req *req, void *app)
{
    struct feed *feed;
    struct err err = {0};

    if (find_open(req, app, &feed, &err) < 0)
        return http_resp_error(req, &err);
    feed_close(feed);
    return http_resp_empty(req, 200);
}
