#include "server/enclave/call.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/http/client.h"
#include "proto/json/jfield.h"
#include "server/enclave/config.h"

#define ANSWER_MAX (32U << 20)
#define EXTRA_MS                                                                                   \
    15000 /* beyond the time that the tool itself may take: start of a kernel, clean-up */

struct enclave_call {
    struct arena arena;
    const struct tool *tool;
    struct tool_request request;
    char *text; /* owned: the body */
    int64_t started_ms;
    struct http_call *http; /* owned */
    struct event *posted;   /* owned; for tools that answer by themselves */
    enclave_call_fn on_done;
    void *arg;
};

static void call_free(struct enclave_call *c)
{
    http_call_cancel(c->http);
    if (c->posted != NULL)
        event_free(c->posted);
    json_decref(c->request.body);
    free(c->text);
    arena_done(&c->arena);
    free(c);
}

void enclave_call_cancel(struct enclave_call *call)
{
    if (call != NULL)
        call_free(call);
}

static json_t *result_json(const struct enclave_call *c, struct tool_outcome *o)
{
    char now[CLOCK_RFC3339_MAX];

    clock_format_us(clock_wall_us(), now);
    return json_pack("{s:s, s:f, s:s, s:s, s:o, s:{}, s:o}", "status", o->status, "execution_time",
                     (double)(clock_monotonic_ms() - c->started_ms) / 1000.0, "timestamp", now,
                     "tool_name", c->tool->name, "output", o->output, "metadata", "error",
                     o->error);
}

static void finish(struct enclave_call *c, struct tool_outcome *outcome)
{
    enclave_call_fn on_done = c->on_done;
    void *arg = c->arg;
    json_t *result = result_json(c, outcome);

    call_free(c);
    on_done(arg, result);
}

static void on_posted(evutil_socket_t fd, short what, void *arg)
{
    struct enclave_call *c = arg;
    struct tool_outcome outcome;

    (void)fd;
    (void)what;
    tool_outcome_error(&outcome, "error", c->request.refusal);
    finish(c, &outcome);
}

/* What execd refused, in its words. */
static void read_refusal(const struct enclave_call *c, struct slice body, struct tool_outcome *ret)
{
    cleanup_json json_t *answer = NULL;
    struct err err;
    const char *message = NULL;

    if (json_parse(body.ptr, body.len, &answer, ERR_BACKEND_RESPONSE_FAILED, &err) == 0)
        message = json_string_value(json_object_get(answer, "message"));
    char *text = xasprintf("Execution failed: %.900s",
                           message != NULL ? message : "the sandbox refused the request");
    (void)c;
    tool_outcome_error(ret, "error", text);
    free(text);
}

static void on_answer(void *arg, int status, struct slice body, const struct err *err)
{
    struct enclave_call *c = arg;
    struct tool_outcome outcome;

    c->http = NULL;
    if (err != NULL && err->code == ERR_BACKEND_TIMEOUT)
        tool_outcome_error(&outcome, "timeout", "Execution timed out");
    else if (err != NULL)
        tool_outcome_error(&outcome, "error", err->text);
    else if (status != 200)
        read_refusal(c, body, &outcome);
    else
        c->tool->read(body, &c->request, &outcome);
    finish(c, &outcome);
}

static int choose_tool(const struct sandbox *sb, const char *name, const struct tool **ret,
                       struct err *err)
{
    cleanup_json json_t *config = enclave_config_json(sb);
    const char *type = enclave_type(sb);

    *ret = tool_find(name);
    bool fits = *ret != NULL && (!(*ret)->notebook || strcmp(type, "docker_notebook") == 0);
    if (fits && enclave_has_tool(config, name))
        return 0;
    return err_set(err, ERR_TOOL_NOT_FOUND, ENOENT, "Tool %.64s is not available", name);
}

static int send_request(struct enclave_call *c, struct event_base *base, struct lifecycle *lc,
                        const struct sandbox *sb, struct err *err)
{
    struct relay_target target = {0};
    char token[TOKEN_TEXT_SIZE];
    const char *const headers[][2] = {{"X-EXECD-ACCESS-TOKEN", token}, {NULL, NULL}};
    struct slice body = {0};

    c->text = json_compact(c->request.body, &body.len);
    body.ptr = c->text;
    if (c->text == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the tool's request");
    if (lifecycle_execd_target(lc, sb, &target, &c->arena) < 0)
        return err_set(err, ERR_BACKEND_CONNECTION_FAILED, EHOSTUNREACH,
                       "Sandbox %s has no address", sb->id);
    lifecycle_token(lc, sb, token);
    int rc = http_call_start(base, &target, "POST", c->request.path, headers, body, ANSWER_MAX,
                             (int)(c->request.timeout_s * 1000 + EXTRA_MS), on_answer, c, &c->http);
    explicit_bzero(token, sizeof(token));
    return rc < 0 ? err_sys(err, ERR_OUT_OF_MEMORY, -rc, "ask the sandbox") : 0;
}

static int post_refusal(struct enclave_call *c, struct event_base *base, struct err *err)
{
    c->posted = event_new(base, -1, 0, on_posted, c);
    if (c->posted == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the tool's answer");
    event_active(c->posted, EV_TIMEOUT, 0);
    return 0;
}

static int build_request(struct enclave_call *c, const struct sandbox *sb, const json_t *parameters,
                         struct err *err)
{
    const char *working_dir = enclave_working_dir(sb, &c->arena);

    if (working_dir == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the tool's request");
    return c->tool->build(parameters, working_dir, &c->arena, &c->request, err);
}

int enclave_call_start(struct event_base *base, struct lifecycle *lc, const struct sandbox *sb,
                       const char *tool, const json_t *parameters, enclave_call_fn on_done,
                       void *arg, struct enclave_call **ret_call, struct err *err)
{
    struct enclave_call *c = xnew(struct enclave_call);

    arena_init(&c->arena);
    c->on_done = on_done;
    c->arg = arg;
    c->started_ms = clock_monotonic_ms();
    c->request.timeout_s = TOOL_TIMEOUT_S;
    int rc = sb->state == SANDBOX_RUNNING ? choose_tool(sb, tool, &c->tool, err)
                                          : err_set(err, ERR_SANDBOX_NOT_FOUND, ESRCH,
                                                    "Sandbox %s is not active (status: %s)", sb->id,
                                                    sandbox_state_name(sb->state));
    if (rc == 0)
        rc = build_request(c, sb, parameters, err);
    if (rc == 0)
        rc = c->request.refusal != NULL ? post_refusal(c, base, err)
                                        : send_request(c, base, lc, sb, err);
    if (rc < 0) {
        call_free(c);
        return rc;
    }
    *ret_call = c;
    return 0;
}
