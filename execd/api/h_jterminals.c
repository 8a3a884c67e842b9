#include <limits.h>
#include <string.h>

#include "execd/api/gateway.h"
#include "execd/gateway/terminal_ws.h"
#include "proto/api/errors.h"
#include "proto/http/resp.h"
#include "proto/http/ws_conn.h"

struct terminal_body {
    const char *name, *cwd;
};
static const struct jfield terminal_fields[] = {
    JFIELD(struct terminal_body, name, JFIELD_STRING, .max = TERMINAL_NAME_MAX,
           .doc = "how it shall be called"),
    JFIELD(struct terminal_body, cwd, JFIELD_STRING, .max = 4095,
           .doc = "where it starts; relative to the gateway's root"),
};

static enum http_result not_found(struct http_req *req)
{
    return http_resp_fail(req, ERR_SESSION_NOT_FOUND, "Terminal not found: %.64s",
                          http_req_param(req, "name"));
}

enum http_result h_jterminal_start(struct http_req *req, void *app)
{
    struct api *api = app;
    struct terminal_body body = {0};
    char cwd[PATH_MAX];
    const char *name;
    struct err err = {0};
    if (gateway_decode(req, terminal_fields, ARRAY_LEN(terminal_fields), &body, &err) < 0 ||
        kernels_folder(&api->kernels, body.cwd, cwd, &err) < 0)
        return http_resp_error(req, &err);
    bool was_there = body.name != NULL && terminals_find(api->terminals, body.name) != NULL;
    if (terminals_start(api->terminals, body.name, cwd, &name, &err) < 0)
        return http_resp_error(req, &err);
    if (http_resp_made(req, 200, terminals_model(api->terminals, name)) < 0 && !was_there)
        terminals_remove(api->terminals, name);
    return H_DONE;
}

enum http_result h_jterminal_list(struct http_req *req, void *app)
{
    struct api *api = app;
    return http_resp_json(req, 200, terminals_list(api->terminals));
}

enum http_result h_jterminal_get(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *name = http_req_param(req, "name");
    if (terminals_find(api->terminals, name) == NULL)
        return not_found(req);
    return http_resp_json(req, 200, terminals_model(api->terminals, name));
}

enum http_result h_jterminal_delete(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *name = http_req_param(req, "name");
    if (terminals_find(api->terminals, name) == NULL)
        return not_found(req);
    terminals_remove(api->terminals, name);
    return http_resp_empty(req, 204);
}

enum http_result h_jterminal_ws(struct http_req *req, void *app)
{
    struct api *api = app;
    struct term *term = terminals_find(api->terminals, http_req_param(req, "name"));
    struct err err = {0};
    if (term == NULL)
        return not_found(req);
    if (ws_check_handshake(req, &err) < 0 ||
        term_check_room(term, !term_has_writer(term), &err) < 0 ||
        terminal_ws_start(req, api->terminals, term, &err) < 0)
        return http_resp_error(req, &err);
    return H_DONE;
}
