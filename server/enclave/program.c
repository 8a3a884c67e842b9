/*
 * Tools that run a program: all of them are one POST /run_code to the sandbox's execd. What is to be run in the working
 * directory of the sandbox is a short script around it; texts of clients enter it only as quoted words or as files.
 */
#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/codec.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"
#include "proto/json/json_load.h"
#include "server/enclave/tools.h"

#define SCRIPT_MAX (4U << 20)
#define SCRIPT_ROOM (SCRIPT_MAX + 4096) /* for what stands around the words */
#define COMPILE_TIMEOUT_S 600
#define FILES_MAX 100
#define OUTPUT_MAX (32U << 20)

static int no_memory(struct err *err)
{
    return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the tool's request");
}

/* Nothing beyond SCRIPT_MAX, which check_script refuses. */
static void add_quoted(struct strbuf *out, const char *word)
{
    if (out->len > SCRIPT_MAX)
        return;
    strbuf_addc(out, '\'');
    for (; *word != '\0' && out->len <= SCRIPT_MAX; word++) {
        if (*word == '\'')
            strbuf_adds(out, "'\\''");
        else
            strbuf_addc(out, *word);
    }
    strbuf_addc(out, '\'');
}

/* The folder of the run is where the request's files are: $box. */
static void begin_script(struct strbuf *out, const char *working_dir)
{
    strbuf_init(out, SCRIPT_ROOM);
    strbuf_adds(out, "box=$PWD; mkdir -p -- ");
    add_quoted(out, working_dir);
    strbuf_adds(out, " && cd -- ");
    add_quoted(out, working_dir);
    strbuf_adds(out, " || exit 1\n");
}

static int add_file(json_t *files, const char *name, const char *content, size_t len,
                    struct arena *arena, struct err *err)
{
    char *text = arena_alloc(arena, codec_base64_len(len) + 1);

    if (text == NULL)
        return no_memory(err);
    codec_base64(content, len, text);
    return json_object_set_new(files, name, json_string(text)) < 0 ? no_memory(err) : 0;
}

static int check_script(const struct strbuf *script, struct err *err)
{
    if (strbuf_check(script) < 0)
        return no_memory(err);
    if (script->len > SCRIPT_MAX)
        return err_set(err, ERR_VALIDATION, E2BIG, "parameters: longer than %u bytes", SCRIPT_MAX);
    return 0;
}

/* Takes the script. `file` of the content, beside the script, may be NULL. */
static int finish_script(struct strbuf *script, const char *file, const char *content,
                         struct arena *arena, struct tool_request *r, struct err *err)
{
    json_t *files = json_object();
    int rc = check_script(script, err);

    if (rc == 0 && file != NULL)
        rc = add_file(files, file, content, strlen(content), arena, err);
    r->path = "/run_code";
    if (rc == 0) {
        r->body = json_pack("{s:s, s:s, s:I, s:b, s:O}", "language", "sh", "code", script->data,
                            "run_timeout", (json_int_t)r->timeout_s, "sweep", 0, "files", files);
        rc = r->body == NULL ? no_memory(err) : 0;
    }
    json_decref(files);
    strbuf_done(script);
    return rc;
}

int tool_build_python(const json_t *parameters, const char *working_dir, struct arena *arena,
                      struct tool_request *r, struct err *err)
{
    struct strbuf script;
    const char *code;

    int rc = tool_text(parameters, "code", true, &code, err);
    if (rc == 0)
        rc = tool_seconds(parameters, "timeout", &r->timeout_s, err);
    if (rc < 0)
        return rc;
    if (tool_text_is_blank(code))
        r->refusal = "No code provided";
    begin_script(&script, working_dir);
    strbuf_adds(&script, "command -v python >/dev/null && exec python \"$box/exec_script.py\"\n"
                         "exec python3 \"$box/exec_script.py\"\n");
    return finish_script(&script, "exec_script.py", code, arena, r, err);
}

/* A text for the shell, or a program with its arguments. */
static int add_command(struct strbuf *script, const json_t *command, bool *ret_empty,
                       struct err *err)
{
    const json_t *word;
    size_t i;

    *ret_empty = json_is_string(command) ? tool_text_is_blank(json_string_value(command))
                                         : json_array_size(command) == 0;
    strbuf_adds(script, "exec");
    if (json_is_string(command)) {
        strbuf_adds(script, " sh -c ");
        add_quoted(script, json_string_value(command));
        return 0;
    }
    if (!json_is_array(command))
        return err_set(err, ERR_VALIDATION, EINVAL,
                       "parameters.command: expected a text or an array of texts");
    json_array_foreach(command, i, word)
    {
        if (!json_is_string(word))
            return err_set(err, ERR_VALIDATION, EINVAL, "parameters.command.%zu: expected a text",
                           i);
        if (script->len <= SCRIPT_MAX)
            strbuf_addc(script, ' ');
        add_quoted(script, json_string_value(word));
    }
    return 0;
}

int tool_build_shell(const json_t *parameters, const char *working_dir, struct arena *arena,
                     struct tool_request *r, struct err *err)
{
    struct strbuf script;
    bool empty = false;

    int rc = tool_seconds(parameters, "timeout", &r->timeout_s, err);
    if (rc < 0)
        return rc;
    begin_script(&script, working_dir);
    rc = add_command(&script, json_object_get(parameters, "command"), &empty, err);
    if (rc < 0) {
        strbuf_done(&script);
        return rc;
    }
    if (empty)
        r->refusal = "No command provided";
    return finish_script(&script, NULL, NULL, arena, r, err);
}

/* ---- file_operation ---- */

/* The path comes as "$1". */
static const struct {
    const char *name, *script, *done;
    bool takes_content;
} operations[] = {
    {"read", "exec cat -- \"$1\"", NULL, false},
    {"write", "mkdir -p -- \"$(dirname -- \"$1\")\" && cp -- \"$box/content\" \"$1\"",
     "File written successfully: ", true},
    {"create", "mkdir -p -- \"$(dirname -- \"$1\")\" && cp -- \"$box/content\" \"$1\"",
     "File written successfully: ", true},
    {"delete", "exec rm -rf -- \"$1\"", "Successfully deleted: ", false},
    {"list", "exec ls -la -- \"$1\"", NULL, false},
    {"exists", "test -e \"$1\" && echo exists || echo 'does not exist'", NULL, false},
};

static int find_operation(const char *name, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        if (strcmp(operations[i].name, name) == 0)
            return (int)i;
    }
    return err_set(err, ERR_VALIDATION, EINVAL,
                   "parameters.operation: '%.32s' is not create, read, write, delete, list or "
                   "exists",
                   name);
}

static int check_encoding(const char *encoding, struct err *err)
{
    if (encoding == NULL || strcasecmp(encoding, "utf-8") == 0 || strcasecmp(encoding, "utf8") == 0)
        return 0;
    return err_set(err, ERR_VALIDATION, EINVAL, "parameters.encoding: only utf-8");
}

int tool_build_file(const json_t *parameters, const char *working_dir, struct arena *arena,
                    struct tool_request *r, struct err *err)
{
    const char *operation, *path, *content, *encoding;
    struct strbuf script;

    int rc = tool_text(parameters, "operation", true, &operation, err);
    if (rc == 0)
        rc = tool_text(parameters, "file_path", true, &path, err);
    if (rc == 0)
        rc = tool_text(parameters, "content", false, &content, err);
    if (rc == 0)
        rc = tool_text(parameters, "encoding", false, &encoding, err);
    if (rc == 0)
        rc = check_encoding(encoding, err);
    if (rc == 0)
        rc = r->operation = find_operation(operation, err);
    if (rc < 0)
        return rc;
    bool takes = operations[r->operation].takes_content;
    r->subject = arena_strndup(arena, path, strlen(path));
    if (r->subject == NULL)
        return no_memory(err);
    if (tool_text_is_blank(path))
        r->refusal = "No file path provided";
    else if (strcmp(operation, "write") == 0 && content == NULL)
        r->refusal = "Content is required for write operation";
    begin_script(&script, working_dir);
    strbuf_adds(&script, "set -- ");
    add_quoted(&script, path);
    strbuf_addf(&script, "\n%s\n", operations[r->operation].script);
    return finish_script(&script, takes ? "content" : NULL, content != NULL ? content : "", arena,
                         r, err);
}

/* ---- multi_code_executor ---- */

static int add_files(const json_t *given, json_t *files, struct arena *arena, struct err *err)
{
    const char *name;
    const json_t *content;

    if (given == NULL || json_is_null(given))
        return 0;
    if (!json_is_object(given) || json_object_size(given) > FILES_MAX)
        return err_set(err, ERR_VALIDATION, EINVAL,
                       "parameters.files: expected an object of at most %d texts", FILES_MAX);
    json_object_foreach((json_t *)given, name, content)
    {
        const char *slash =
            strrchr(name, '/'); /* their own executor keeps the last component too */
        if (!json_is_string(content))
            return err_set(err, ERR_VALIDATION, EINVAL, "parameters.files.%.64s: expected a text",
                           name);
        int rc = add_file(files, slash != NULL ? slash + 1 : name, json_string_value(content),
                          json_string_length(content), arena, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int tool_build_program(const json_t *parameters, const char *working_dir, struct arena *arena,
                       struct tool_request *r, struct err *err)
{
    int64_t compile_s = COMPILE_TIMEOUT_S;
    const char *language, *code;

    (void)working_dir; /* each run has a folder of its own, as there */
    int rc = tool_text(parameters, "language", true, &language, err);
    if (rc == 0)
        rc = tool_text(parameters, "code", true, &code, err);
    if (rc == 0)
        rc = tool_seconds(parameters, "run_timeout", &r->timeout_s, err);
    if (rc == 0)
        rc = tool_seconds(parameters, "compile_timeout", &compile_s, err);
    if (rc < 0)
        return rc;
    if (tool_text_is_blank(language) || tool_text_is_blank(code))
        r->refusal = "Invalid input";
    json_t *files = json_object();
    rc = add_files(json_object_get(parameters, "files"), files, arena, err);
    if (rc < 0) {
        json_decref(files);
        return rc;
    }
    r->path = "/run_code";
    r->body = json_pack("{s:s, s:s, s:I, s:I, s:o}", "language", language, "code", code,
                        "run_timeout", (json_int_t)r->timeout_s, "compile_timeout",
                        (json_int_t)compile_s, "files", files);
    r->timeout_s += compile_s;
    return r->body != NULL ? 0 : no_memory(err);
}

/* ---- the answer ---- */

static struct slice member(const json_t *step, const char *key)
{
    const json_t *text = json_object_get(step, key);

    return (struct slice){json_is_string(text) ? json_string_value(text) : "",
                          json_string_length(text)};
}

/* Both outputs, a line break between them, as their executor joins them. */
static json_t *joined_output(const json_t *compile, const json_t *run)
{
    struct slice first = member(compile, "stdout"), second = member(run, "stdout");
    cleanup_strbuf struct strbuf both;

    strbuf_init(&both, OUTPUT_MAX);
    strbuf_add(&both, first.ptr, first.len);
    if (first.len > 0 && second.len > 0)
        strbuf_addc(&both, '\n');
    strbuf_add(&both, second.ptr, second.len);
    return tool_text_json(&both);
}

static json_t *error_or(struct slice text, const char *otherwise)
{
    return text.len > 0 ? json_stringn(text.ptr, text.len) : json_string(otherwise);
}

static json_t *exit_text(const json_t *run)
{
    return json_sprintf("Command failed with exit code %lld",
                        (long long)json_integer_value(json_object_get(run, "return_code")));
}

static void read_run(const json_t *compile, const json_t *run, struct tool_outcome *o)
{
    const char *status = member(run, "status").ptr;
    struct slice err_text = member(run, "stderr");
    const json_t *code = json_object_get(run, "return_code");

    o->output = joined_output(compile, run);
    if (strcmp(status, "TimeLimitExceeded") == 0) {
        o->status = "timeout";
        o->error = error_or(err_text, "Command timed out");
    } else if (json_is_integer(code) && json_integer_value(code) == 0) {
        o->status = "success";
        o->error = err_text.len > 0 ? error_or(err_text, "") : json_null();
    } else {
        o->status = "error";
        o->error = err_text.len > 0 ? error_or(err_text, "") : exit_text(run);
    }
}

void tool_read_program(struct slice body, const struct tool_request *request,
                       struct tool_outcome *ret)
{
    cleanup_json json_t *answer = json_load_tolerant(body);

    (void)request;
    if (answer == NULL) {
        tool_outcome_error(ret, "error", "Execution failed: the sandbox's answer was broken");
        return;
    }
    const json_t *compile = json_object_get(answer, "compile_result");
    const json_t *run = json_object_get(answer, "run_result");
    struct slice message = member(answer, "message");
    *ret = (struct tool_outcome){.status = "error"};
    if (json_is_object(run)) {
        read_run(compile, run, ret);
        return;
    }
    ret->output = joined_output(compile, NULL);
    ret->error = json_is_object(compile) ? error_or(member(compile, "stderr"), "Compilation failed")
                                         : error_or(message, "Execution failed");
}

void tool_read_file(struct slice body, const struct tool_request *request, struct tool_outcome *ret)
{
    const char *done = operations[request->operation].done;

    tool_read_program(body, request, ret);
    if (strcmp(ret->status, "success") != 0) {
        json_decref(ret->output);
        ret->output = json_string("");
        return;
    }
    const char *said = json_string_value(ret->output);
    size_t len = json_string_length(ret->output);
    json_t *output = NULL;
    if (done != NULL)
        output = json_sprintf("%s%s", done, request->subject);
    else if (strcmp(operations[request->operation].name, "exists") == 0 && len > 0)
        output = json_stringn(said, len - 1); /* without its line break */
    if (output == NULL)
        return;
    json_decref(ret->output);
    ret->output = output;
}
