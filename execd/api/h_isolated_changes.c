#include <stdlib.h>

#include "execd/api/isolated.h"
#include "execd/isolate/changes.h"
#include "proto/base/mem.h"
#include "proto/http/resp.h"

/* The work goes on without a client that leaves: a commit is not left half done. */
struct asker {
    struct http_req *req; /* NULL when it has gone */
};

static void on_client_gone(void *arg)
{
    struct asker *a = arg;

    a->req = NULL;
}

static void on_done(void *arg, json_t *result, const struct err *err)
{
    struct asker *a = arg;
    struct http_req *req = a->req;

    free(a);
    if (req == NULL) {
        json_decref(result);
        return;
    }
    http_req_on_close(req, NULL, NULL);
    if (result == NULL)
        (void)http_resp_error(req, err);
    else
        (void)http_resp_json(req, 200, result);
}

static enum http_result start(struct http_req *req, struct api *api, enum changes_work work)
{
    enum http_result result;
    struct isolate_session *s = isolated_find(req, api, &result);
    struct err err = {0};

    if (s == NULL)
        return result;
    struct asker *a = xnew(struct asker);
    a->req = req;
    if (isolate_changes(s, work, on_done, a, &err) < 0) {
        free(a);
        return http_resp_error(req, &err);
    }
    http_req_on_close(req, on_client_gone, a);
    return H_WAIT;
}

enum http_result h_isolated_diff(struct http_req *req, void *app)
{
    return start(req, app, CHANGES_LIST);
}

enum http_result h_isolated_commit(struct http_req *req, void *app)
{
    return start(req, app, CHANGES_COMMIT);
}
