#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "execd/api/stream.h"
#include "execd/proc/users.h"
#include "proto/api/errors.h"
#include "proto/http/resp.h"

/* Message prefixes of contracts/execd.md 1.4: clients and their suites match on them. */
#define PARSE_PREFIX "error parsing request, MAYBE invalid body format. "
#define VALIDATE_PREFIX "invalid request, validation error "

#define COMMAND_MAX (2 * 1024 * 1024)
#define STDIN_MAX (6 * 1024 * 1024)
#define ARGV_MAX 4096
#define ENVS_MAX 10000
#define REQUEST(member, kind_, ...)                                                                \
    {                                                                                              \
        .name = #member, .kind = (kind_), .offset = offsetof(struct body, r.member), __VA_ARGS__   \
    }

struct body {
    struct command_request r;
    const char *input, *backpressure;
    json_t *user, *group, *restrictions;
    struct policy policy;
};

static const struct jfield command_fields[] = {
    REQUEST(command, JFIELD_STRING, .max = COMMAND_MAX, .doc = "text for the shell"),
    REQUEST(argv, JFIELD_STRINGS, .max = ARGV_MAX, .doc = "program and arguments, no shell"),
    REQUEST(cwd, JFIELD_STRING, .max = 4095, .doc = "working directory"),
    REQUEST(envs, JFIELD_MAP, .max = ENVS_MAX, .doc = "variables added to the environment"),
    {.name = "timeout",
     .kind = JFIELD_I64,
     .offset = offsetof(struct body, r.timeout_ms),
     .min = 0,
     .max = INT64_MAX / 1000000,
     .doc = "milliseconds, 0 = none"},
    {.name = "uid",
     .kind = JFIELD_RAW,
     .offset = offsetof(struct body, user),
     .doc = "number or name"},
    {.name = "gid",
     .kind = JFIELD_RAW,
     .offset = offsetof(struct body, group),
     .doc = "number or name"},
    REQUEST(background, JFIELD_BOOL),
    {.name = "stdin",
     .kind = JFIELD_STRING,
     .offset = offsetof(struct body, input),
     .max = STDIN_MAX,
     .doc = "text for the standard input"},
    REQUEST(stdin_open, JFIELD_BOOL, .doc = "keep the standard input open for more"),
    {.name = "policy",
     .kind = JFIELD_RAW,
     .offset = offsetof(struct body, restrictions),
     .doc = "what this command may do less than its sandbox"},
    {.name = "backpressure",
     .kind = JFIELD_STRING,
     .offset = offsetof(struct body, backpressure),
     .max = 16,
     .doc = "block (default) or drop"},
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

/* A number, or a name of the sandbox's own account files. */
static int take_identity(const char *key, const json_t *value, bool is_group, bool *ret_has,
                         uint32_t *ret_id, struct err *err)
{
    struct user user;
    int rc = 0;

    if (value == NULL || json_is_null(value))
        return 0;
    if (json_is_string(value) && is_group)
        rc = users_group_by_name(json_string_value(value), ret_id);
    else if (json_is_string(value))
        rc = users_by_name(json_string_value(value), &user);
    else if (!json_is_integer(value) || json_integer_value(value) < 0 ||
             json_integer_value(value) > UINT32_MAX)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       PARSE_PREFIX "%s: expected a number from 0 to 4294967295, or a name", key);
    else
        *ret_id = (uint32_t)json_integer_value(value);
    if (rc < 0)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, VALIDATE_PREFIX "%s: no '%.64s' here",
                       key, json_string_value(value));
    if (json_is_string(value) && !is_group)
        *ret_id = user.uid;
    *ret_has = true;
    return 0;
}

static int take_stream_options(struct body *b, struct err *err)
{
    b->r.stdin_text = b->input;
    b->r.stdin_len = b->input != NULL ? strlen(b->input) : 0;
    if (b->backpressure == NULL || strcmp(b->backpressure, "block") == 0)
        return 0;
    if (strcmp(b->backpressure, "drop") != 0)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       VALIDATE_PREFIX "backpressure: expected block or drop");
    b->r.lossy = true;
    return 0;
}

static int decode(struct http_req *req, struct body *b, struct err *err)
{
    struct slice text = http_req_body(req);
    struct err detail = {0};
    cleanup_json json_t *document = NULL;

    if (jfield_decode_text(command_fields, ARRAY_LEN(command_fields), text.ptr, text.len, false, b,
                           http_req_arena(req), ERR_INVALID_REQUEST_BODY, &document, &detail) < 0)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, PARSE_PREFIX "%.190s", detail.text);
    int rc = check_program(&b->r, err);
    if (rc == 0)
        rc = check_envs(&b->r.envs, err);
    if (rc == 0)
        rc = take_identity("uid", b->user, false, &b->r.has_uid, &b->r.uid, err);
    if (rc == 0)
        rc = take_identity("gid", b->group, true, &b->r.has_gid, &b->r.gid, err);
    if (rc == 0)
        rc = take_stream_options(b, err);
    if (rc == 0)
        rc = policy_decode(b->restrictions, http_req_arena(req), &b->policy, err);
    b->r.policy = &b->policy;
    if (b->r.argv.n > 0)
        b->r.command = NULL;
    return rc;
}

enum http_result h_command_run(struct http_req *req, void *app)
{
    struct api *api = app;
    struct body body = {0};
    struct command *command;
    struct channel *channel;
    struct err err = {0};

    if (decode(req, &body, &err) < 0 ||
        command_start(api->commands, &body.r, &command, &channel, &err) < 0)
        return http_resp_error(req, &err);
    return api_stream(req, api, channel, command_id(command), STREAM_LINES);
}
