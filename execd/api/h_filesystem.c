/*
 * The file routes as another identity: the request goes to a process that has it, and streams both ways.
 */
#include <errno.h>

#include "execd/api/worker_relay.h"
#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"

/* 4294967295 is -1, which stands for "no change" in the kernel. */
#define ID_MAX 4294967294U

static int take_id(const struct http_req *req, const char *name, uint32_t *ret_id, struct err *err)
{
    const char *text = http_req_param(req, name);

    if (str_to_u32(text, ret_id) == 0 && *ret_id <= ID_MAX)
        return 0;
    return err_set(err, ERR_INVALID_PATH, EINVAL, "%s '%.32s' is not a number from 0 to %u", name,
                   text, ID_MAX);
}

enum http_result h_filesystem(struct http_req *req, void *app)
{
    const char *query = http_req_raw_query(req);
    struct worker_place place = {.mount_ns = -1};
    struct err err = {0};

    if (take_id(req, "uid", &place.uid, &err) < 0 || take_id(req, "gid", &place.gid, &err) < 0)
        return http_resp_error(req, &err);
    return worker_relay(req, app, &place,
                        arena_printf(http_req_arena(req), "/%s%s%s", http_req_param(req, "rest"),
                                     query[0] != '\0' ? "?" : "", query));
}
