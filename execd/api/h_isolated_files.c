/*
 * Files of an isolated session as its programs see them: overlays, deletions and binds included. The request goes to a
 * process in the session's mount namespace, with what a program of the session may do.
 */
#include <string.h>

#include "execd/api/isolated.h"
#include "execd/api/worker_relay.h"
#include "proto/api/errors.h"
#include "proto/http/resp.h"

/* Clients of this route want the counts without asking (contracts/v1.1.md 1.6). */
static const char *query_of(struct http_req *req, const char *path)
{
    const char *query = http_req_raw_query(req);

    if (strcmp(path, "/files/replace") != 0)
        return query;
    return arena_printf(http_req_arena(req), "verbose=true%s%s", query[0] != '\0' ? "&" : "",
                        query);
}

static enum http_result pass_on(struct http_req *req, struct api *api, const char *room)
{
    enum http_result result;
    const struct isolate_session *s = isolated_find(req, api, &result);
    const char *rest = http_req_param(req, "rest");

    if (s == NULL)
        return result;
    const struct worker_place place = {.uid = 0, .gid = 0, .mount_ns = isolate_mount_ns(s)};
    if (place.mount_ns < 0)
        return http_resp_fail(req, ERR_SESSION_NOT_FOUND, "the session has ended");
    const char *path = arena_printf(http_req_arena(req), "/%s%s%s", room, rest != NULL ? "/" : "",
                                    rest != NULL ? rest : "");
    const char *query = query_of(req, path);
    return worker_relay(
        req, api, &place,
        arena_printf(http_req_arena(req), "%s%s%s", path, query[0] != '\0' ? "?" : "", query));
}

enum http_result h_isolated_files(struct http_req *req, void *app)
{
    return pass_on(req, app, "files");
}

enum http_result h_isolated_directories(struct http_req *req, void *app)
{
    return pass_on(req, app, "directories");
}
