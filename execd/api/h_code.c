#include <string.h>

#include "execd/api/shell_code.h"
#include "execd/api/context_delete.h"
#include "execd/api/context_json.h"
#include "execd/api/context_request.h"
#include "execd/api/stream.h"
#include "execd/exec/shell_context.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/ids.h"
#include "proto/base/str.h"
#include "proto/http/resp.h"
#include "proto/json/json_build.h"

#define CODE_MAX (16 << 20) /* bytes of one run; the route bounds the body */
#define INPUT_MAX (1 << 20) /* bytes */
#define LANGUAGE_MAX 64
#define TIMEOUT_MAX (INT64_MAX / 1000000) /* milliseconds, as for commands */

/* Message prefixes of contracts/execd.md 1.4. */
#define PARSE_PREFIX "error parsing request, MAYBE invalid body format. "
#define VALIDATE_PREFIX "invalid request, validation error "
#define RUN_PREFIX "error running codes "
#define CREATE_PREFIX "error creating code context. "
#define RESTART_PREFIX "error restarting code context. "
#define DELETE_PREFIX "error deleting code context. "

struct context_body {
    const char *id, *language, *cwd;
    struct jmap envs;
};
static const struct jfield context_fields[] = {
    JFIELD(struct context_body, id, JFIELD_STRING, .max = 256, .doc = "context to run in"),
    JFIELD(struct context_body, language, JFIELD_STRING, .max = LANGUAGE_MAX,
           .doc = "language of the code"),
    JFIELD(struct context_body, cwd, JFIELD_STRING, .max = 4095,
           .doc = "working directory of the kernel"),
    JFIELD(struct context_body, envs, JFIELD_MAP, .max = 1000,
           .doc = "variables added to the kernel's environment"),
};

struct code_body {
    const char *code;
    const char *language; /* where somebody put it who names no context */
    struct context_body context;
    int64_t timeout;
    const char *input;
};
static const struct jfield code_fields[] = {
    JFIELD(struct code_body, code, JFIELD_STRING, .max = CODE_MAX, .doc = "text to run"),
    JFIELD(struct code_body, language, JFIELD_STRING, .max = LANGUAGE_MAX,
           .doc = "as context.language, where the context says neither that nor an id"),
    JFIELD(struct code_body, context, JFIELD_OBJECT, .sub = context_fields,
           .n_sub = ARRAY_LEN(context_fields), .doc = "where to run it"),
    JFIELD(struct code_body, timeout, JFIELD_I64, .min = 0, .max = TIMEOUT_MAX,
           .doc = "milliseconds until it is interrupted; 0 = none"),
    {.name = "stdin",
     .kind = JFIELD_STRING,
     .offset = offsetof(struct code_body, input),
     .max = INPUT_MAX,
     .doc = "lines that its questions for input get"},
};

static bool is_empty(const char *text)
{
    return !text || !text[0];
}

static int decode(struct http_req *req, const struct jfield *fields, size_t n_fields, void *target,
                  struct err *err)
{
    struct slice body = http_req_body(req);
    int r = jfield_decode_text(fields, n_fields, body.ptr, body.len, false, target,
                               http_req_arena(req), ERR_INVALID_REQUEST_BODY, NULL, err);
    return r < 0 ? err_wrap(err, PARSE_PREFIX "%s", "body") : 0;
}

/* ---- POST /code --------------------------------------------------------------------------------- */

static enum http_result start_command(struct http_req *req, struct api *api,
                                      const struct code_body *body, bool background)
{
    struct command_request request = {.command = body->code,
                                      .cwd = body->context.cwd,
                                      .background = background,
                                      .timeout_ms = body->timeout,
                                      .stdin_text = body->input,
                                      .stdin_len = body->input ? strlen(body->input) : 0};
    struct command *command;
    struct channel *channel;
    struct err err = {0};
    if (command_start(api->commands, &request, &command, &channel, &err) < 0)
        return context_request_fail(req, RUN_PREFIX, &err);
    return api_stream(req, api, channel, command_id(command), STREAM_LINES);
}

static enum http_result run_in_shell(struct http_req *req, struct api *api,
                                     const struct code_body *body)
{
    return start_command(req, api, body, false);
}

static enum http_result run_in_background(struct http_req *req, struct api *api,
                                          const struct code_body *body)
{
    return start_command(req, api, body, true);
}

/* How many runs are before it. */
static void tell_position(struct http_req *req, unsigned ahead)
{
    char number[16];
    (void)snprintf(number, sizeof(number), "%u", ahead); /* fits */
    http_resp_header(req, "X-Execd-Queue-Position", number);
}

/* A language of shells: in a session, which keeps its state. */
static enum http_result run_in_session(struct http_req *req, struct api *api,
                                       const struct code_body *body)
{
    const struct session_run_request request = {
        .command = body->code, .timeout_ms = body->timeout, .separate = true, .verbatim = true};
    struct session_run *run;
    struct channel *channel;
    unsigned ahead;
    struct err err = {0};
    if (body->input)
        return http_resp_fail(req, ERR_NOT_SUPPORTED,
                              RUN_PREFIX "stdin: a shell session has none, use a here-document");
    if (shell_code_run(api, body->context.id, body->context.language, &request, &ahead, &run,
                       &channel, &err) < 0)
        return context_request_fail(req, RUN_PREFIX, &err);
    tell_position(req, ahead);
    return api_stream(req, api, channel, session_run_id(run), STREAM_VERBATIM);
}

static enum http_result run_sql(struct http_req *req, struct api *api, const struct code_body *body)
{
    char id[ID_UUID_LEN + 1];
    struct channel *channel;
    struct err err = {0};
    if (body->input)
        return http_resp_fail(req, ERR_NOT_SUPPORTED, RUN_PREFIX "stdin: statements have none");
    if (sql_start(api->sql, body->code, body->timeout, id, &channel, &err) < 0)
        return context_request_fail(req, RUN_PREFIX, &err);
    return api_stream(req, api, channel, id, STREAM_VERBATIM);
}

/* Languages that run without a kernel and have no contexts (contracts/execd.md 1.6). */
struct plain_language {
    const char *name;
    enum http_result (*run)(struct http_req *req, struct api *api, const struct code_body *body);
};
static const struct plain_language plain_languages[] = {
    {"command", run_in_shell},
    {"background-command", run_in_background},
    {"sql", run_sql},
};

static const struct plain_language *find_plain(const char *language)
{
    for (size_t i = 0; i < ARRAY_LEN(plain_languages); i++)
        if (str_eq_nocase(language, plain_languages[i].name))
            return &plain_languages[i];
    return NULL;
}

static enum http_result run_in_kernel(struct http_req *req, struct api *api,
                                      const struct code_body *body)
{
    struct code_run_request request = {.language = body->context.language,
                                       .code = body->code,
                                       .timeout_ms = body->timeout,
                                       .input = body->input};
    struct channel *channel;
    unsigned ahead;
    char run_id[ID_HEX_LEN + 1];
    struct err err = {0};
    if (!api->code)
        return http_resp_fail(req, ERR_NOT_SUPPORTED, RUN_PREFIX "there are no kernels: %s",
                              api->code_err.text);
    if (!is_empty(body->context.id)) {
        request.context = code_context_find(api->code, body->context.id);
        if (!request.context)
            return http_resp_fail(req, ERR_RUNTIME_ERROR, RUN_PREFIX "context not found");
    }
    if (code_run(api->code, &request, &channel, &ahead, &err) < 0)
        return context_request_fail(req, RUN_PREFIX, &err);
    ids_hex(run_id);
    tell_position(req, ahead);
    archive_add(api->archive, run_id, channel, true);
    return api_stream(req, api, channel, run_id, STREAM_VERBATIM);
}

enum http_result h_code_run(struct http_req *req, void *app)
{
    struct api *api = app;
    struct code_body body = {0};
    struct err err = {0};
    if (decode(req, code_fields, ARRAY_LEN(code_fields), &body, &err) < 0)
        return http_resp_error(req, &err);
    if (is_empty(body.code))
        return http_resp_fail(
            req, ERR_INVALID_REQUEST_BODY,
            VALIDATE_PREFIX
            "Key: 'RunCodeRequest.Code' Error:Field validation for 'Code' failed on "
            "the 'required' tag");
    if (is_empty(body.context.id) && is_empty(body.context.language))
        body.context.language = body.language;
    /* A context knows its language; without both the text is for the shell (contracts/execd.md 1.6). */
    const char *language = !is_empty(body.context.language) ? body.context.language
                           : is_empty(body.context.id)      ? "command"
                                                            : "";
    const struct plain_language *plain = find_plain(language);
    if (plain)
        return plain->run(req, api, &body);
    if (shell_code_takes(api, body.context.id, language))
        return run_in_session(req, api, &body);
    return run_in_kernel(req, api, &body);
}

/* ---- contexts ------------------------------------------------------------------------------------ */

/* As lists have it. */
static json_t *describe(const struct code_context *ctx)
{
    json_t *json =
        json_pack("{s:s, s:s}", "id", code_context_id(ctx), "language", code_context_language(ctx));
    const char *note, *start = code_context_start(ctx, &note);
    json_put(&json, "state", json_string(code_state_name(code_context_state(ctx))));
    if (start[0])
        json_put(&json, "start", json_string(start));
    if (note[0])
        json_put(&json, "start_note", json_text(note));
    return json;
}

json_t *api_context_json(const struct code_context *ctx)
{
    json_t *json = describe(ctx);
    if (code_context_cwd(ctx)[0])
        json_put(&json, "cwd", json_string(code_context_cwd(ctx)));
    return json;
}

static void add_time(json_t **json, const char *key, int64_t wall_us)
{
    char text[CLOCK_RFC3339_MAX];
    clock_format_us(wall_us, text);
    json_put(json, key, json_string(text));
}

static json_t *describe_kernel(const struct code_context *ctx, const struct kernel_info *info)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name", code_context_spec(ctx), "language",
                     info->language, "language_version", info->language_version, "implementation",
                     info->implementation, "implementation_version", info->implementation_version,
                     "protocol_version", info->protocol_version);
}

static json_t *describe_fully(const struct code_context *ctx)
{
    json_t *json = api_context_json(ctx);
    struct code_details details;
    code_context_get_details(ctx, &details);
    add_time(&json, "created_at", details.created_us);
    add_time(&json, "last_active_at", details.active_us);
    json_put(&json, "queued", json_integer(details.queued));
    json_put(&json, "clients", json_integer(code_context_n_clients(ctx)));
    if (details.memory_now > 0)
        json_put(&json, "memory_bytes", json_integer((json_int_t)details.memory_now));
    if (details.memory_peak > 0)
        json_put(&json, "memory_peak_bytes", json_integer((json_int_t)details.memory_peak));
    if (details.kernel)
        json_put(&json, "kernel", describe_kernel(ctx, details.kernel));
    return json;
}

static struct session *find_shell(struct http_req *req, struct api *api)
{
    return shell_context_find(api->sessions, http_req_param(req, "contextId"));
}

static enum http_result create_session(struct http_req *req, struct api *api,
                                       const struct context_body *body)
{
    const struct session_request request = {
        .language = body->language, .cwd = body->cwd, .envs = &body->envs};
    struct session *shell;
    struct err err = {0};
    if (shell_code_create(api, &request, &shell, &err) < 0)
        return context_request_fail(req, CREATE_PREFIX, &err);
    json_t *json = shell_code_describe(shell);
    if (!is_empty(body->cwd))
        json_put(&json, "cwd", json_string(body->cwd));
    if (http_resp_made(req, 200, json) < 0)
        session_delete(shell);
    return H_DONE;
}

enum http_result h_context_create(struct http_req *req, void *app)
{
    struct api *api = app;
    struct context_body body = {0};
    struct err err = {0};
    if (decode(req, context_fields, ARRAY_LEN(context_fields), &body, &err) < 0)
        return http_resp_error(req, &err);
    if (is_empty(body.language))
        return http_resp_fail(req, ERR_INVALID_REQUEST_BODY, CREATE_PREFIX "language: which one?");
    if (find_plain(body.language))
        return http_resp_fail(req, ERR_RUNTIME_ERROR, "unsupported language context operation: %s",
                              body.language);
    if (shell_code_serves(api, body.language))
        return create_session(req, api, &body);
    if (!api->code)
        return http_resp_fail(req, ERR_NOT_SUPPORTED, CREATE_PREFIX "there are no kernels: %s",
                              api->code_err.text);
    struct context_request *wait =
        context_request_new(req, api->code, CREATE_PREFIX, api_context_json);
    if (!wait)
        return context_request_no_memory(req);
    struct code_context_options options = {
        .language = body.language, .cwd = body.cwd, .envs = &body.envs};
    int r = code_context_create(api->code, &options, context_request_on_made, wait, NULL, &err);
    return context_request_wait(wait, r, &err);
}

/* Answers when the new kernel is ready. */
enum http_result h_context_restart(struct http_req *req, void *app)
{
    struct api *api = app;
    struct code_context *ctx = context_request_find(req, api);
    struct err err = {0};
    struct session *shell = find_shell(req, api);
    if (shell)
        return session_restart(shell, &err) < 0
                   ? context_request_fail(req, RESTART_PREFIX, &err)
                   : http_resp_json(req, 200, shell_code_describe(shell));
    if (!ctx)
        return context_request_not_found(req);
    struct context_request *wait =
        context_request_new(req, api->code, RESTART_PREFIX, api_context_json);
    if (!wait)
        return context_request_no_memory(req);
    int r = code_context_restart(ctx, context_request_on_ready, wait, &err);
    return context_request_wait(wait, r, &err);
}

enum http_result h_context_list(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *language = http_req_query(req, "language", 0);
    if (!is_empty(language) && find_plain(language))
        return http_resp_fail(req, ERR_RUNTIME_ERROR, "unsupported language context operation: %s",
                              language);
    json_t *list = json_array();
    struct code_context *ctx = NULL;
    while (api->code && (ctx = code_context_next(api->code, ctx)))
        if (is_empty(language) || code_context_speaks(ctx, language))
            json_push(&list, describe(ctx));
    shell_code_list(api, language, &list);
    return http_resp_json(req, 200, list);
}

enum http_result h_context_get(struct http_req *req, void *app)
{
    const struct code_context *ctx = context_request_find(req, app);
    const struct session *shell = find_shell(req, app);
    if (shell)
        return http_resp_json(req, 200, shell_code_describe(shell));
    return ctx ? http_resp_json(req, 200, describe_fully(ctx)) : context_request_not_found(req);
}

enum http_result h_context_delete_all(struct http_req *req, void *app)
{
    struct api *api = app;
    const char *language = http_req_query(req, "language", 0);
    if (is_empty(language))
        return http_resp_fail(req, ERR_MISSING_QUERY, "missing query parameter 'language'");
    if (find_plain(language))
        return http_resp_fail(req, ERR_RUNTIME_ERROR, "unsupported language context operation: %s",
                              language);
    shell_context_delete_all(api->sessions, language);
    struct context_delete *wait = context_delete_new(req, 200, DELETE_PREFIX);
    struct code_context *ctx = api->code ? code_context_next(api->code, NULL) : NULL;
    while (ctx) {
        struct code_context *next = code_context_next(api->code, ctx);
        if (code_context_speaks(ctx, language))
            context_delete_add(wait, ctx);
        ctx = next;
    }
    return context_delete_wait(wait);
}

enum http_result h_context_delete(struct http_req *req, void *app)
{
    struct code_context *ctx = context_request_find(req, app);
    struct session *shell = find_shell(req, app);
    if (shell) {
        session_delete(shell);
        return http_resp_empty(req, 200);
    }
    return ctx ? context_delete_one(req, ctx, 200, DELETE_PREFIX) : context_request_not_found(req);
}
