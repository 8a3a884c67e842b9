#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/http/resp.h"

/* Message prefixes of contracts/execd.md 1.4: clients and their suites match on them. */
#define PARSE_PREFIX "error parsing request, MAYBE invalid body format. "
#define VALIDATE_PREFIX "invalid request, validation error "

#define COMMAND_MAX (2 * 1024 * 1024)
#define ARGV_MAX 4096
#define ENVS_MAX 10000

static const struct jfield command_fields[] = {
    JFIELD(struct command_request, command, JFIELD_STRING, .max = COMMAND_MAX,
           .doc = "text for the shell"),
    JFIELD(struct command_request, argv, JFIELD_STRINGS, .max = ARGV_MAX,
           .doc = "program and arguments, no shell"),
    JFIELD(struct command_request, cwd, JFIELD_STRING, .max = 4095, .doc = "working directory"),
    JFIELD(struct command_request, envs, JFIELD_MAP, .max = ENVS_MAX,
           .doc = "variables added to the environment"),
    {.name = "timeout",
     .kind = JFIELD_I64,
     .offset = offsetof(struct command_request, timeout_ms),
     .min = 0,
     .max = INT64_MAX / 1000000,
     .doc = "milliseconds, 0 = none"},
    JFIELD(struct command_request, uid, JFIELD_U32,
           .has_offset = offsetof(struct command_request, has_uid)),
    JFIELD(struct command_request, gid, JFIELD_U32,
           .has_offset = offsetof(struct command_request, has_gid)),
    JFIELD(struct command_request, background, JFIELD_BOOL),
};

static int check_envs(const struct jmap *envs, struct err *err)
{
    for (size_t i = 0; i < envs->n; i++) {
        const char *key = envs->items[i].key;
        if (key[0] == '\0' || strchr(key, '=') != NULL)
            return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                           VALIDATE_PREFIX "envs: '%.64s' is no variable name", key);
    }
    return 0;
}

static int check_program(const struct command_request *r, struct err *err)
{
    bool has_command = r->command != NULL && r->command[0] != '\0';

    if (has_command && r->argv.n > 0)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       VALIDATE_PREFIX "command and argv exclude each other");
    if (r->argv.items != NULL && (r->argv.n == 0 || r->argv.items[0][0] == '\0'))
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       VALIDATE_PREFIX "argv: the program's name must be there and not empty");
    if (!has_command && r->argv.n == 0)
        return err_set(
            err, ERR_INVALID_REQUEST_BODY, EINVAL,
            VALIDATE_PREFIX
            "Key: 'RunCommandRequest.Command' Error:Field validation for 'Command' failed "
            "on the 'required' tag (or give argv)");
    return 0;
}

static int decode(struct http_req *req, struct command_request *r, struct err *err)
{
    struct slice body = http_req_body(req);
    struct err detail = {0};

    if (jfield_decode_text(command_fields, ARRAY_LEN(command_fields), body.ptr, body.len, false, r,
                           http_req_arena(req), ERR_INVALID_REQUEST_BODY, NULL, &detail) < 0)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, PARSE_PREFIX "%.190s", detail.text);
    int rc = check_program(r, err);
    if (rc == 0)
        rc = check_envs(&r->envs, err);
    if (r->argv.n > 0)
        r->command = NULL;
    return rc;
}

enum http_result h_command_run(struct http_req *req, void *app)
{
    struct api *api = app;
    struct command_request request = {0};
    struct command *command;
    struct channel *channel;
    struct err err = {0};

    if (decode(req, &request, &err) < 0 ||
        command_start(api->commands, &request, &command, &channel, &err) < 0)
        return http_resp_error(req, &err);
    struct sink_options options = {
        .lines = line_endings_choose(api->line_endings, http_req_header(req, "User-Agent")),
        .framing = sse_choose(req),
    };
    enum http_result result = sink_sse_start(req, channel, &options);
    channel_unref(channel);
    return result;
}

static void set_time(json_t *o, const char *key, int64_t wall_us)
{
    char text[CLOCK_RFC3339_MAX];

    clock_format_us(wall_us, text);
    json_object_set_new(o, key, json_string(text));
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
    json_object_set_new(o, "id", json_string(s.id));
    if (s.content[0] != '\0')
        json_object_set_new(o, "content", json_string(s.content));
    json_object_set_new(o, "running", json_boolean(s.running));
    if (s.has_exit_code)
        json_object_set_new(o, "exit_code", json_integer(s.exit_code));
    if (s.error != NULL)
        json_object_set_new(o, "error", json_string(s.error));
    set_time(o, "started_at", s.started_us);
    if (!s.running)
        set_time(o, "finished_at", s.finished_us);
    return http_resp_json(req, 200, o);
}
