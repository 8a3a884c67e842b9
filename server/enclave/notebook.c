/*
 * notebook_executor: one POST /code to the default Python context of the sandbox's execd, whose stream of events is
 * read as ms-enclave reads the messages of a kernel (contracts/jupyter.md 3.1, steps 9 to 11).
 */
#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"
#include "proto/json/json_load.h"
#include "server/enclave/tools.h"

#define OUTPUT_MAX (32U << 20)

int tool_build_notebook(const json_t *parameters, const char *working_dir, struct arena *arena,
                        struct tool_request *r, struct err *err)
{
    const char *code;

    (void)working_dir;
    (void)arena;
    int rc = tool_text(parameters, "code", true, &code, err);
    if (rc == 0)
        rc = tool_seconds(parameters, "timeout", &r->timeout_s, err);
    if (rc < 0)
        return rc;
    if (tool_text_is_blank(code))
        r->refusal = "No code provided";
    r->path = "/code";
    r->body = json_pack("{s:s, s:{s:s}, s:I}", "code", code, "context", "language", "python",
                        "timeout", (json_int_t)r->timeout_s * 1000);
    return r->body != NULL
               ? 0
               : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the tool's request");
}

struct cell {
    struct strbuf output;
    json_t *result; /* owned */
    bool failed, timed_out, ended;
    bool lost; /* an event could not be read: the cell's output is not whole */
};

static void take_error(struct cell *c, const json_t *error)
{
    const json_t *line;
    size_t i;

    c->failed = true;
    json_array_foreach(json_object_get(error, "traceback"), i, line)
    {
        if (i > 0)
            strbuf_addc(&c->output, '\n');
        strbuf_add(&c->output, json_string_value(line), json_string_length(line));
    }
}

static void take_event(struct cell *c, const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));

    if (type == NULL)
        return;
    if (strcmp(type, "stdout") == 0 || strcmp(type, "stderr") == 0) {
        const json_t *text = json_object_get(event, "text");
        strbuf_add(&c->output, json_string_value(text), json_string_length(text));
    } else if (strcmp(type, "result") == 0) {
        json_decref(c->result);
        c->result = json_incref(json_object_get(json_object_get(event, "results"), "text/plain"));
    } else if (strcmp(type, "error") == 0) {
        c->ended = true;
        take_error(c, json_object_get(event, "error"));
    } else if (strcmp(type, "execution_complete") == 0) {
        c->ended = true;
    } else if (strcmp(type, "receipt") == 0) {
        const char *reason =
            json_string_value(json_object_get(json_object_get(event, "receipt"), "reason"));
        c->timed_out = reason != NULL && strcmp(reason, "timeout") == 0;
    }
}

/* One compact object per event, an empty line behind each. */
static void take_stream(struct cell *c, struct slice body)
{
    const char *p = body.ptr, *end = body.ptr + body.len;

    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if (line_end == NULL)
            line_end = end;
        cleanup_json json_t *event = json_load_tolerant((struct slice){p, (size_t)(line_end - p)});
        c->lost |= event == NULL && line_end > p;
        take_event(c, event);
        p = line_end + 1;
    }
}

static void add_result(struct cell *c)
{
    strbuf_adds(&c->output, "\nResult: ");
    strbuf_add(&c->output, json_string_value(c->result), json_string_length(c->result));
}

void tool_read_notebook(struct slice body, const struct tool_request *request,
                        struct tool_outcome *ret)
{
    struct cell c = {0};

    strbuf_init(&c.output, OUTPUT_MAX);
    take_stream(&c, body);
    if (json_string_length(c.result) > 0)
        add_result(&c);
    if (c.timed_out)
        strbuf_addf(&c.output, "\nExecution timed out after %lld seconds",
                    (long long)request->timeout_s);
    if (!c.ended)
        strbuf_adds(&c.output, "\nthe kernel's output ended before the cell did");
    if (c.lost)
        strbuf_adds(&c.output, "\nan event of the cell could not be read: its output is not whole");
    bool good = c.ended && !c.failed && !c.timed_out && !c.lost;
    json_t *text = tool_text_json(&c.output);
    if (text == NULL)
        tool_outcome_error(ret, "error", "no memory for the cell's output");
    else if (good)
        *ret = (struct tool_outcome){.status = "success", .output = text, .error = json_null()};
    else
        *ret = (struct tool_outcome){
            .status = c.timed_out ? "timeout" : "error", .output = json_string(""), .error = text};
    json_decref(c.result);
    strbuf_done(&c.output);
}
