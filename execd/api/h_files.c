#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "execd/api/paths.h"
#include "execd/files/info.h"
#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"
#include "proto/json/json_build.h"

#define INFO_PATHS_MAX 10000

enum http_result h_file_info(struct http_req *req, void *app)
{
    struct err err = {0};
    const char *given;

    (void)app;
    json_t *answer = json_object();
    for (size_t i = 0; (given = http_req_query(req, "path", i)) != NULL; i++) {
        const char *path;
        json_t *info;
        if (i == INFO_PATHS_MAX)
            (void)err_set(&err, ERR_INVALID_QUERY, E2BIG, "more than %d paths", INFO_PATHS_MAX);
        else if (!utf8_is_valid(given, strlen(given)))
            (void)err_set(&err, ERR_INVALID_QUERY, EILSEQ,
                          "path: not UTF-8, as a key of the answer has to be");
        if (err.code != 0 || api_path(http_req_arena(req), given, &path, &err) < 0 ||
            file_info(path, &info, &err) < 0) {
            json_decref(answer);
            return http_resp_error(req, &err);
        }
        json_put(&answer, given, info); /* keys are the strings as asked (contracts/execd.md 1.9) */
    }
    return http_resp_json(req, 200, answer);
}
