#include <stdlib.h>

#include "execd/api/api.h"
#include "proto/base/patience.h"
#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/http/resp.h"

/* The typo is part of the contract (contracts/execd.md 1.4). */
#define INTERRUPT_PREFIX "error interruptting code context. "

/* Beyond the grace after which it is killed (command_config): what is not dead then waits for the kernel, on a disk or a
 * file system that does not answer, and nobody can say how long (hardening B17). */
#define WAIT_MAX_MS 4500

/* A client that waits for the end of the command it interrupted. */
struct waiting {
    struct http_req *req;
    struct patience limit;
    struct command *command; /* stays findable while somebody waits */
};

static void waiting_free(struct waiting *w)
{
    patience_done(&w->limit);
    free(w);
}

static void on_client_gone(void *arg)
{
    struct waiting *w = arg;

    command_cancel_wait(w->command, w);
    waiting_free(w);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
    struct waiting *w = arg;
    struct http_req *req = w->req;

    (void)fd;
    (void)what;
    if (!patience_is_over(&w->limit))
        return;
    http_req_on_close(req, NULL, NULL);
    on_client_gone(w);
    (void)http_resp_fail(
        req, ERR_RUNTIME_ERROR,
        INTERRUPT_PREFIX
        "it was killed and is not dead yet: the kernel holds one of its processes");
}

static void on_gone(void *arg)
{
    struct waiting *w = arg;
    struct http_req *req = w->req;

    http_req_on_close(req, NULL, NULL);
    waiting_free(w);
    (void)http_resp_empty(req, 200);
}

static enum http_result interrupt_command(struct http_req *req, struct command *c)
{
    struct waiting *w = xnew(struct waiting);
    struct err err = {0};

    *w = (struct waiting){.req = req, .command = c};
    if (!patience_init(&w->limit, http_req_base(req), on_limit, w)) {
        waiting_free(w);
        return http_resp_fail(req, ERR_OUT_OF_MEMORY, INTERRUPT_PREFIX "no memory");
    }
    patience_start(&w->limit, WAIT_MAX_MS);
    http_req_on_close(req, on_client_gone, w);
    if (command_interrupt(c, on_gone, w, &err) == 0)
        return H_WAIT;
    http_req_on_close(req, NULL, NULL);
    waiting_free(w);
    return http_resp_fail(req, err.code, INTERRUPT_PREFIX "%s", err.text);
}

/* DELETE /command and DELETE /code are one: the id is a code context's, a session's or a command's (contracts/execd.md 1.6). */
enum http_result h_interrupt(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_query(req, "id", 0);
    struct err err = {0};

    if (id == NULL || id[0] == '\0')
        return http_resp_fail(req, ERR_MISSING_QUERY, "missing query parameter 'id'");
    struct code_context *ctx = api->code != NULL ? code_context_find(api->code, id) : NULL;
    if (ctx != NULL) {
        if (code_interrupt(ctx, &err) < 0)
            return http_resp_fail(req, err.code, INTERRUPT_PREFIX "%s", err.text);
        return http_resp_empty(req, 200);
    }
    struct session *session = session_find(api->sessions, id);
    if (session != NULL && session_language(session) != NULL) {
        session_interrupt_all(session); /* as a kernel's context: idle or not */
        return http_resp_empty(req, 200);
    }
    if (session != NULL) {
        if (session_interrupt(session, NULL, &err) < 0)
            return http_resp_fail(req, err.code, INTERRUPT_PREFIX "%s", err.text);
        return http_resp_empty(req, 200);
    }
    struct sql_run *sql = sql_find(api->sql, id);
    if (sql != NULL) {
        sql_interrupt(sql);
        return http_resp_empty(req, 200);
    }
    struct command *c = command_find(api->commands, id);
    if (c == NULL)
        return http_resp_fail(req, ERR_RUNTIME_ERROR, INTERRUPT_PREFIX "no such session");
    return interrupt_command(req, c);
}
