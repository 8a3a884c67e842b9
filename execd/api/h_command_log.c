#include <errno.h>

#include "execd/api/log_page.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"
#include "proto/json/json_build.h"
#include "proto/json/json_load.h"

static void set_time(json_t **o, const char *key, int64_t wall_us)
{
    char text[CLOCK_RFC3339_MAX];

    clock_format_us(wall_us, text);
    json_put(o, key, json_string(text));
}

static json_t *receipt_object(const struct receipt *receipt)
{
    struct strbuf text;

    strbuf_init(&text, 0);
    receipt_json(receipt, &text);
    json_t *o =
        strbuf_check(&text) == 0 ? json_load_tolerant((struct slice){text.data, text.len}) : NULL;
    strbuf_done(&text);
    return o;
}

enum http_result h_command_status(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    struct command *c = command_find(api->commands, id);
    struct command_status s;

    if (c == NULL)
        return http_resp_fail(req, ERR_COMMAND_NOT_FOUND, "command not found: %.64s", id);
    command_get_status(c, &s);
    json_t *o = json_object();
    json_put(&o, "id", json_string(s.id));
    if (s.content[0] != '\0')
        json_put(&o, "content", json_text(s.content));
    json_put(&o, "running", json_boolean(s.running));
    if (s.has_exit_code)
        json_put(&o, "exit_code", json_integer(s.exit_code));
    if (s.error != NULL)
        json_put(&o, "error", json_text(s.error));
    set_time(&o, "started_at", s.started_us);
    if (!s.running)
        set_time(&o, "finished_at", s.finished_us);
    if (s.receipt != NULL)
        json_put(&o, "receipt", receipt_object(s.receipt));
    return http_resp_json(req, 200, o);
}

/* --- the stored output of a background command --- */

/* As upstream: absent or no number at all is the beginning, beyond the end is the end, negative is refused. */
static int take_cursor(struct http_req *req, uint64_t size, uint64_t *ret, struct err *err)
{
    const char *text = http_req_query(req, "cursor", 0);
    int64_t cursor = 0;

    int rc = text != NULL ? str_to_i64(text, &cursor) : 0;
    if (rc == -ERANGE || cursor < 0)
        return err_set(err, ERR_INVALID_QUERY, EINVAL,
                       "cursor: expected a byte offset, got '%.24s'", text);
    *ret = rc < 0 ? 0 : MIN((uint64_t)cursor, size);
    return 0;
}

enum http_result h_command_logs(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *id = http_req_param(req, "id");
    struct command *c = command_find(api->commands, id);
    struct err err = {0};
    uint64_t cursor;

    if (c == NULL)
        return http_resp_fail(req, ERR_COMMAND_NOT_FOUND, "command not found: %.64s", id);
    if (!command_is_background(c))
        return http_resp_fail(
            req, ERR_INVALID_REQUEST_BODY,
            "command %.64s is not running in background: its output is its stream "
            "(GET /command/{id}/stream)",
            id);
    const struct spool *log = command_log(c);
    if (log == NULL)
        return http_resp_fail(req, ERR_LOG_EXPIRED, "the log of %.64s is no longer kept", id);
    if (take_cursor(req, spool_size(log), &cursor, &err) < 0)
        return http_resp_error(req, &err);
    return api_log_page(req, log, cursor, "EXECD-COMMANDS-TAIL-CURSOR");
}
