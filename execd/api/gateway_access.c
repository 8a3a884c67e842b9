#include <string.h>
#include <strings.h>

#include "execd/api/gateway.h"
#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"
#include "proto/http/ws_conn.h"

#define PREFLIGHT_AGE "600"

static bool is_below(const char *path, const char *tree)
{
    size_t len = strlen(tree);
    return strncmp(path, tree, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

bool gateway_is_asked(const struct http_req *req, const struct route *route)
{
    static const char *const trees[] = {"/api", "/kernelspecs", "/terminals"};
    const char *path = route != NULL ? route->pattern : http_req_raw_path(req);
    for (size_t i = 0; i < ARRAY_LEN(trees); i++)
        if (is_below(path, trees[i]))
            return true;
    return false;
}

int gateway_check_origin(const struct http_req *req, const struct api *api, struct err *err)
{
    return ws_check_origin(req, api->allowed_origins, err);
}

/* The text behind "token " or "bearer "; NULL when the field is another scheme's, or empty as some clients send it
 * where they know of no token. */
static const char *token_of_field(const char *field)
{
    static const char *const schemes[] = {"token", "bearer"};
    for (size_t i = 0; field != NULL && i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (strncasecmp(field, schemes[i], len) != 0 || field[len] != ' ')
            continue;
        field += len + strspn(field + len, " ");
        return field[0] != '\0' ? field : NULL;
    }
    return NULL;
}

const char *gateway_token(struct http_req *req)
{
    const char *token = NULL;
    if (http_req_header_count(req, "Authorization") == 1)
        token = token_of_field(http_req_header(req, "Authorization"));
    return token != NULL ? token : http_req_query(req, "token", 0);
}

json_t *gateway_render_error(const struct err *err)
{
    const struct err_row *row = err_classify(err);
    const char *text = err->text[0] ? err->text : row->text;
    json_t *json =
        json_pack("{s:s, s:s, s:s+++}", "code", row->wire, "reason",
                  http_status_reason(row->status), "message", text, " [", row->family, "]");
    if (row->status == 401)
        json_object_set_new(json, "error", json_string(text));
    return json;
}

/* ---- pages of other origins ---- */

static const char *allowed_origin(const struct api *api, const char *origin)
{
    const char *const *allowed = api->allowed_origins;
    for (; allowed != NULL && *allowed != NULL; allowed++)
        if (strcmp(*allowed, "*") == 0 || strcasecmp(*allowed, origin) == 0)
            return *allowed;
    return NULL;
}

void api_decorate(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *origin = http_req_header(req, "Origin");
    const char *allowed = origin != NULL && gateway_is_asked(req, http_req_route(req))
                              ? allowed_origin(api, origin)
                              : NULL;
    if (allowed == NULL)
        return;
    http_resp_header(req, "Access-Control-Allow-Origin", allowed);
    http_resp_header(req, "Access-Control-Expose-Headers", "Location");
    if (strcmp(allowed, "*") != 0)
        http_resp_header(req, "Vary", "Origin");
    if (strcmp(http_req_method(req), "OPTIONS") != 0)
        return;
    http_resp_header(req, "Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS");
    http_resp_header(req, "Access-Control-Allow-Headers",
                     http_req_header(req, "Access-Control-Request-Headers"));
    http_resp_header(req, "Access-Control-Max-Age", PREFLIGHT_AGE);
}
