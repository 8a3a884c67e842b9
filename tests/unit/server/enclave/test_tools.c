/* Tools and configurations of ms-enclave's API: what is asked of execd, what its answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "server/enclave/config.h"
#include "server/enclave/tools.h"

static struct arena arena;

static struct slice text_slice(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* The request of a tool; NULL when it refused the parameters, then err is set. */
static int build(const char *tool, const char *parameters, struct tool_request *r, struct err *err)
{
    json_t *json = json_loads(parameters, 0, NULL);

    assert_non_null(json);
    *r = (struct tool_request){.timeout_s = TOOL_TIMEOUT_S};
    int rc = tool_find(tool)->build(json, "/it's", &arena, r, err);
    json_decref(json);
    return rc;
}

static const char *script_of(const struct tool_request *r)
{
    return json_string_value(json_object_get(r->body, "code"));
}

static void test_every_row_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_tools; i++) {
        json_t *schema = tool_schema(&tools[i]);
        assert_ptr_equal(tool_find(tools[i].name), &tools[i]);
        assert_non_null(schema);
        const json_t *function = json_object_get(schema, "function");
        assert_string_equal(json_string_value(json_object_get(function, "name")), tools[i].name);
        assert_true(json_is_object(json_object_get(function, "parameters")));
        json_decref(schema);
        assert_non_null(tools[i].build);
        assert_non_null(tools[i].read);
    }
    assert_null(tool_find("no_such_tool"));
}

static void test_words_of_clients_stay_words(void **state)
{
    struct tool_request r;
    struct err err;

    (void)state;
    assert_int_equal(
        build("shell_executor", "{\"command\": [\"a'b\", \"$HOME\"], \"timeout\": 7}", &r, &err),
        0);
    assert_non_null(strstr(script_of(&r), "cd -- '/it'\\''s' || exit 1\nexec 'a'\\''b' '$HOME'"));
    assert_int_equal(json_integer_value(json_object_get(r.body, "run_timeout")), 7);
    json_decref(r.body);
    assert_int_equal(build("shell_executor", "{\"command\": \"x; 'y'\"}", &r, &err), 0);
    assert_non_null(strstr(script_of(&r), "exec sh -c 'x; '\\''y'\\'''"));
    json_decref(r.body);
    assert_int_equal(build("file_operation",
                           "{\"operation\": \"delete\", \"file_path\": \"-rf '\\n/\"}", &r, &err),
                     0);
    assert_non_null(strstr(script_of(&r), "set -- '-rf '\\''\n/'\nexec rm -rf -- \"$1\""));
    json_decref(r.body);
}

static void test_parameters_that_are_refused(void **state)
{
    static const char *const rows[][2] = {
        {"python_executor", "{}"},
        {"python_executor", "{\"code\": 1}"},
        {"python_executor", "{\"code\": \"1\", \"timeout\": 0}"},
        {"python_executor", "{\"code\": \"1\", \"timeout\": \"1\"}"},
        {"shell_executor", "{}"},
        {"shell_executor", "{\"command\": {}}"},
        {"shell_executor", "{\"command\": [1]}"},
        {"file_operation", "{\"operation\": \"format\", \"file_path\": \"x\"}"},
        {"file_operation", "{\"operation\": \"read\"}"},
        {"file_operation",
         "{\"operation\": \"read\", \"file_path\": \"x\", \"encoding\": \"utf-16\"}"},
        {"multi_code_executor", "{\"code\": \"x\"}"},
        {"multi_code_executor", "{\"language\": \"c\", \"code\": \"x\", \"files\": []}"},
        {"multi_code_executor", "{\"language\": \"c\", \"code\": \"x\", \"files\": {\"a\": 1}}"},
        {"notebook_executor", "{\"code\": [\"x\"]}"},
    };
    struct tool_request r;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        assert_int_equal(build(rows[i][0], rows[i][1], &r, &err), -EINVAL);
        assert_int_equal(err.code, ERR_VALIDATION);
        assert_non_null(strstr(err.text, "parameters."));
    }
}

/* ---- memory that ends: each allocation of the JSON library in turn ---- */

static unsigned allocations_left;

static void *scarce(size_t n)
{
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return malloc(n);
}

/* Whole, or refused as what it is; never a request from which something is missing. */
static void check_scarce(const char *tool, const char *parameters, unsigned allocations,
                         const char *whole)
{
    json_t *json = json_loads(parameters, 0, NULL);
    struct tool_request r = {.timeout_s = TOOL_TIMEOUT_S};
    struct err err = {0};

    allocations_left = allocations;
    int rc = tool_find(tool)->build(json, "/w", &arena, &r, &err);
    allocations_left = UINT_MAX;
    json_decref(json);
    if (rc < 0) {
        assert_int_equal(err.code, ERR_OUT_OF_MEMORY);
        assert_null(r.body);
        return;
    }
    char *text = json_dumps(r.body, JSON_SORT_KEYS);
    assert_string_equal(text, whole);
    free(text);
    json_decref(r.body);
}

static void test_N02_no_memory_is_said(void **state)
{
    static const char *const rows[][2] = {
        {"python_executor", "{\"code\": \"1\"}"},
        {"shell_executor", "{\"command\": [\"a\", \"b\"]}"},
        {"file_operation", "{\"operation\": \"write\", \"file_path\": \"x\", \"content\": \"y\"}"},
        {"multi_code_executor",
         "{\"language\": \"c\", \"code\": \"x\", \"files\": {\"a\": \"1\", \"b\": \"2\"}}"},
        {"notebook_executor", "{\"code\": \"1\"}"},
    };

    (void)state;
    allocations_left = UINT_MAX;
    json_set_alloc_funcs(scarce, free);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tool_request r;
        struct err err;
        json_t *parameters = json_loads(rows[i][1], 0, NULL);
        r = (struct tool_request){.timeout_s = TOOL_TIMEOUT_S};
        assert_int_equal(tool_find(rows[i][0])->build(parameters, "/w", &arena, &r, &err), 0);
        char *whole = json_dumps(r.body, JSON_SORT_KEYS);
        json_decref(parameters);
        json_decref(r.body);
        for (unsigned n = 0; n < 60; n++)
            check_scarce(rows[i][0], rows[i][1], n, whole);
        free(whole);
    }
    json_set_alloc_funcs(malloc, free);
}

static void test_too_long_is_no_lack_of_memory(void **state)
{
    struct tool_request r;
    struct err err;
    char *code = xmalloc(6 << 20);

    (void)state;
    memset(code, 'x', (6 << 20) - 1);
    code[(6 << 20) - 1] = '\0';
    json_t *parameters = json_pack("{s:s}", "command", code);
    r = (struct tool_request){.timeout_s = TOOL_TIMEOUT_S};
    assert_int_equal(tool_find("shell_executor")->build(parameters, "/w", &arena, &r, &err),
                     -E2BIG);
    assert_int_equal(err.code, ERR_VALIDATION);
    json_decref(parameters);
    free(code);
}

static void test_refusals_are_valid_text(void **state)
{
    struct tool_outcome o;

    (void)state;
    tool_outcome_error(&o, "error", "cut \xc3");
    assert_string_equal(json_string_value(o.error), "cut \xef\xbf\xbd");
    json_decref(o.output);
    json_decref(o.error);
}

static void check_outcome(const char *tool, const char *answer, const char *status,
                          const char *output, const char *error)
{
    struct tool_request r = {.timeout_s = 5, .subject = "x"};
    struct tool_outcome o;

    tool_find(tool)->read(text_slice(answer), &r, &o);
    assert_string_equal(o.status, status);
    assert_string_equal(json_string_value(o.output), output);
    if (error == NULL)
        assert_true(json_is_null(o.error));
    else
        assert_string_equal(json_string_value(o.error), error);
    json_decref(o.output);
    json_decref(o.error);
}

#define RUN(status, code, out, err)                                                                \
    "\"run_result\":{\"status\":\"" status "\",\"return_code\":" code ",\"stdout\":\"" out         \
    "\",\"stderr\":\"" err "\"}"

static void test_what_answers_of_programs_mean(void **state)
{
    (void)state;
    check_outcome("python_executor", "{" RUN("Finished", "0", "out", "") "}", "success", "out",
                  NULL);
    check_outcome("python_executor", "{" RUN("Finished", "3", "", "") "}", "error", "",
                  "Command failed with exit code 3");
    check_outcome("python_executor", "{" RUN("TimeLimitExceeded", "null", "a", "") "}", "timeout",
                  "a", "Command timed out");
    check_outcome("multi_code_executor",
                  "{\"compile_result\":{\"stdout\":\"c\",\"stderr\":\"\"}," RUN("Finished", "0",
                                                                                "r", "w") "}",
                  "success", "c\nr", "w");
    check_outcome("multi_code_executor",
                  "{\"compile_result\":{\"stdout\":\"\",\"stderr\":\"no\"},\"run_result\":null}",
                  "error", "", "no");
    check_outcome("multi_code_executor",
                  "{\"message\":\"no 'x'\",\"compile_result\":null,\"run_result\":null}", "error",
                  "", "no 'x'");
    check_outcome("python_executor", "{" RUN("Finished", "0", "a\\u0000b", "") "}", "success", "a",
                  NULL); /* as far as C reads it */
    check_outcome("python_executor", "{}", "error", "", "Execution failed");
    check_outcome("python_executor", "[]", "error", "", "Execution failed");
    check_outcome("python_executor", "no json", "error", "",
                  "Execution failed: the sandbox's answer was broken");
}

static void test_what_streams_of_cells_mean(void **state)
{
    (void)state;
    check_outcome("notebook_executor",
                  "{\"type\":\"stdout\",\"text\":\"a\\n\"}\n\n{\"type\":\"result\",\"results\":{"
                  "\"text/plain\":\"42\"}}\n\n{\"type\":\"execution_complete\"}\n\n",
                  "success", "a\n\nResult: 42", NULL);
    check_outcome("notebook_executor",
                  "{\"type\":\"stderr\",\"text\":\"w\"}\n\n{\"type\":\"error\",\"error\":{"
                  "\"traceback\":[\"x\",\"y\"]}}\n\n",
                  "error", "", "wx\ny");
    check_outcome("notebook_executor",
                  "{\"type\":\"receipt\",\"receipt\":{\"reason\":\"timeout\"}}\n\n{\"type\":"
                  "\"error\",\"error\":{}}\n\n",
                  "timeout", "", "\nExecution timed out after 5 seconds");
    check_outcome(
        "notebook_executor", "{\"type\":\"stdout\",\"text\":\"a\"}\n\nrubbish", "error", "",
        "a\nthe kernel's output ended before the cell did\nan event of the cell could not be "
        "read: its output is not whole");
    check_outcome("notebook_executor",
                  "{\"type\":\"stdout\",\"text\":\"a\"}\n\n{\"type\":\n\n"
                  "{\"type\":\"execution_complete\"}\n\n",
                  "error", "",
                  "a\nan event of the cell could not be read: its output is not whole");
    check_outcome("notebook_executor", "", "error", "",
                  "\nthe kernel's output ended before the cell did");
}

static int decode(const char *type, const char *body, struct sandbox_spec *spec)
{
    static const struct enclave_defaults defaults = {.image = "small", .lifetime_max_s = 3600};
    struct err err = {0};

    return enclave_config_decode(type, text_slice(body), &defaults, &arena, spec, &err);
}

static bool has_tool(const struct sandbox *sb, const char *tool)
{
    json_t *config = enclave_config_json(sb);
    bool has = enclave_has_tool(config, tool);

    json_decref(config);
    return has;
}

static void test_configurations(void **state)
{
    struct sandbox sb = {0};
    struct sandbox_spec *spec = &sb.spec;

    (void)state;
    assert_int_equal(decode("docker", "", spec), 0);
    assert_string_equal(spec->image, "small");
    assert_int_equal(spec->timeout_s, 3600);
    assert_string_equal(spec->entrypoint.items[0], "tail");
    assert_string_equal(enclave_type(&sb), "docker");
    assert_false(has_tool(&sb, "shell_executor"));
    assert_string_equal(enclave_working_dir(&sb, &arena), "/sandbox");
    assert_int_equal(decode("docker", "null", spec), 0);
    assert_int_equal(decode("docker_notebook",
                            "{\"image\": \"python:3.11-slim\", \"memory_limit\": \"4g\", "
                            "\"cpu_limit\": 1.5, \"command\": \"a b\", \"working_dir\": \"/w\", "
                            "\"ports\": {\"8888/tcp\": 1}, \"tools_config\": [\"shell_executor\"]}",
                            spec),
                     0);
    assert_string_equal(spec->image, "small");
    assert_true(spec->memory_bytes == 4ULL << 30);
    assert_int_equal(spec->millicpu, 1500);
    assert_int_equal(spec->entrypoint.n, 3);
    assert_string_equal(spec->entrypoint.items[2], "a b");
    assert_true(has_tool(&sb, "shell_executor"));
    assert_string_equal(enclave_working_dir(&sb, &arena), "/w");
    assert_int_equal(
        decode("docker", "{\"tools_config\": {\"a\": {}, \"b\": {\"enabled\": false}}}", spec), 0);
    assert_true(has_tool(&sb, "a"));
    assert_false(has_tool(&sb, "b"));
}

static void test_configurations_that_are_refused(void **state)
{
    static const char *const bodies[] = {"[]",
                                         "{",
                                         "{\"ports\": {\"1\": 2}}",
                                         "{\"privileged\": true}",
                                         "{\"volumes\": {\"a\": {}}}",
                                         "{\"extra_hosts\": {\"a\": \"b\"}}",
                                         "{\"platform\": \"plan9/mips\"}",
                                         "{\"memory_limit\": \"0g\"}",
                                         "{\"cpu_limit\": 0}",
                                         "{\"command\": [1]}",
                                         "{\"env_vars\": {\"\": \"x\"}}",
                                         "{\"working_dir\": \"w\"}"};
    struct sandbox_spec spec;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        assert_int_equal(decode("docker", bodies[i], &spec), -EINVAL);
    assert_int_equal(decode("dummy", "{}", &spec), -EINVAL);
    assert_int_equal(decode(NULL, "{}", &spec), -EINVAL);
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_whole),
        cmocka_unit_test(test_words_of_clients_stay_words),
        cmocka_unit_test(test_parameters_that_are_refused),
        cmocka_unit_test(test_N02_no_memory_is_said),
        cmocka_unit_test(test_too_long_is_no_lack_of_memory),
        cmocka_unit_test(test_refusals_are_valid_text),
        cmocka_unit_test(test_what_answers_of_programs_mean),
        cmocka_unit_test(test_what_streams_of_cells_mean),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_configurations_that_are_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
