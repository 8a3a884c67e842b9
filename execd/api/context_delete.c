#include "execd/api/context_delete.h"

#include <event2/event.h>
#include <stdlib.h>

#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/http/resp.h"

struct context_delete {
    struct http_req *req; /* NULL once it has left */
    int status;
    const char *prefix;
    struct event *limit; /* owned; NULL until somebody waits */
    size_t left;
};

struct context_delete *context_delete_new(struct http_req *req, int status, const char *prefix)
{
    struct context_delete *wait = xnew(struct context_delete);
    *wait = (struct context_delete){.req = req, .status = status, .prefix = prefix};
    return wait;
}

static void on_closed(void *arg)
{
    struct context_delete *wait = arg;
    wait->req = NULL;
    if (wait->limit)
        (void)event_del(wait->limit); /* cannot fail for an event of ours */
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    struct context_delete *wait = arg;
    struct http_req *req = wait->req;
    (void)fd;
    (void)what;
    http_req_on_close(req, NULL, NULL);
    on_closed(wait);
    (void)http_resp_fail(req, ERR_RUNTIME_ERROR,
                         "%sit was killed and is not dead yet: the system holds one of its "
                         "processes",
                         wait->prefix);
}

static void finish(struct context_delete *wait)
{
    if (wait->limit)
        event_free(wait->limit);
    free(wait);
}

static void on_gone(void *arg)
{
    struct context_delete *wait = arg;
    if (--wait->left > 0)
        return;
    if (wait->req) {
        http_req_on_close(wait->req, NULL, NULL);
        (void)http_resp_empty(wait->req, wait->status);
    }
    finish(wait);
}

void context_delete_add(struct context_delete *wait, struct code_context *ctx)
{
    wait->left++;
    code_context_delete(ctx, on_gone, wait);
}

enum http_result context_delete_wait(struct context_delete *wait)
{
    static const struct timeval limit = {.tv_sec = CONTEXT_DELETE_WAIT_S};
    struct http_req *req = wait->req;
    if (wait->left == 0) {
        enum http_result result = http_resp_empty(req, wait->status);
        finish(wait);
        return result;
    }
    wait->limit = evtimer_new(http_req_base(req), on_limit, wait);
    if (wait->limit)
        (void)event_add(wait->limit, &limit); /* without memory it waits as long as it takes */
    http_req_on_close(req, on_closed, wait);
    return H_WAIT;
}

enum http_result context_delete_one(struct http_req *req, struct code_context *ctx, int status,
                                    const char *prefix)
{
    struct context_delete *wait = context_delete_new(req, status, prefix);
    context_delete_add(wait, ctx);
    return context_delete_wait(wait);
}
