#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "execd/code/kernelspec.h"
#include "proto/api/errors.h"

static struct kernelspec parse(struct arena *arena, const char *text)
{
    struct kernelspec spec = {0};
    struct err err = {0};
    if (kernelspec_parse(text, strlen(text), arena, &spec, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return spec;
}

/* Specs as their makers ship them, without a word for execd. */
static void a_row_is_found_by_the_command_line(void **state)
{
    (void)state;
    static const struct {
        const char *argv;
        unsigned quirks, transports;
        char separator;
        bool by_message;
    } rows[] = {
        {"'python3','-m','ipykernel_launcher','-f','{connection_file}'", 0,
         TRANSPORT_IPC | TRANSPORT_TCP, '-', false},
        {"'tslab','kernel','--config-path={connection_file}'",
         QUIRK_ERROR_AS_STDERR | QUIRK_ABORT_WINDOW | QUIRK_COMPILES_FIRST,
         TRANSPORT_IPC | TRANSPORT_TCP, ':', false},
        {"'/usr/bin/node','/x/tslab/bin/tslab','kernel'",
         QUIRK_ERROR_AS_STDERR | QUIRK_ABORT_WINDOW | QUIRK_COMPILES_FIRST,
         TRANSPORT_IPC | TRANSPORT_TCP, ':', false},
        {"'/root/.deno/bin/deno','jupyter','--kernel','--conn','{connection_file}'",
         QUIRK_LATE_RESULT | QUIRK_NOT_INTERRUPTIBLE | QUIRK_SIGINT_KILLS, TRANSPORT_TCP, '-',
         true},
        {"'java','-jar','{resource_dir}/jjava-launcher.jar','{resource_dir}/jjava.jar'",
         QUIRK_SIGINT_KILLS | QUIRK_RAW_OUTPUT | QUIRK_CLASS_IN_EVALUE | QUIRK_COMPILES_FIRST,
         TRANSPORT_TCP, '-', true},
        {"'/usr/bin/node','/usr/local/lib/execd/tslab-kernel.js','kernel'", QUIRK_COMPILES_FIRST,
         TRANSPORT_IPC | TRANSPORT_TCP, ':', false},
        {"'R','--slave','-e','IRkernel::main()','--args','{connection_file}'",
         QUIRK_RESULT_AS_DISPLAY_DATA | QUIRK_RAW_OUTPUT, TRANSPORT_IPC | TRANSPORT_TCP, '-',
         false},
        {"'/bin/denotation','tslabs','/tslab/kernel','xtslab'", 0, TRANSPORT_IPC | TRANSPORT_TCP,
         '-', false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256] = "{\"language\":\"x\",\"argv\":[";
        strcat(strcat(text, rows[i].argv), "]}");
        for (char *p = text; (p = strchr(p, '\'')); p++)
            *p = '"';
        struct arena arena;
        arena_init(&arena);
        struct kernelspec spec = parse(&arena, text);
        print_message("%s\n", rows[i].argv);
        assert_int_equal(spec.traits.quirks, rows[i].quirks);
        assert_int_equal(spec.traits.transports, rows[i].transports);
        assert_int_equal(spec.traits.ipc_separator, rows[i].separator);
        assert_int_equal(spec.interrupt_by_message, rows[i].by_message);
        arena_done(&arena);
    }
}

static void metadata_adds_to_it(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct kernelspec spec = parse(
        &arena, "{\"language\":\"x\",\"argv\":[\"k\"],\"metadata\":{\"debugger\":true,\"execd\":"
                "{\"transports\":[\"quic\",\"tcp\"],\"ipc_separator\":\":\",\"quirks\":"
                "[\"raw-output\",\"no-history\",\"of-a-later-release\"]}}}");
    assert_int_equal(spec.traits.transports, TRANSPORT_TCP);
    assert_int_equal(spec.traits.ipc_separator, ':');
    assert_int_equal(spec.traits.quirks, QUIRK_RAW_OUTPUT);
    spec = parse(&arena, "{\"language\":\"x\",\"argv\":[\"k\"],\"metadata\":{\"execd\":"
                         "{\"transports\":[\"quic\"]}}}");
    assert_int_equal(spec.traits.transports, 0);
    spec = parse(&arena, "{\"language\":\"x\",\"argv\":[\"k\"],\"interrupt_mode\":\"signal\","
                         "\"metadata\":{\"execd\":{\"quirks\":[\"sigint-kills\"]}}}");
    assert_string_equal(spec.interrupt_mode, "message");
    arena_done(&arena);
}

static void mend(unsigned quirks, const char *ename, const char *evalue, const char *said,
                 json_t **ret_error)
{
    *ret_error = json_pack("{s:s, s:s, s:[]}", "ename", ename, "evalue", evalue, "traceback");
    kernel_quirks_mend_error(quirks, *ret_error, (struct slice){said, strlen(said)});
}

static void errors_are_mended(void **state)
{
    (void)state;
    static const struct {
        unsigned quirks;
        const char *ename, *evalue, *said;
        const char *new_ename, *new_evalue;
        size_t n_lines;
    } rows[] = {
        {0, "ValueError", "bad", "noise", "ValueError", "bad", 0},
        {0, "", "3", "", "ExitStatus", "3", 0},
        {0, "ERROR", "Error in f(): no\n", "", "ERROR", "Error in f(): no", 0},
        {0, "<class 'KeyError'>", "'a'", "", "KeyError", "'a'", 0},
        {0, "<class ''>", "", "", "<class ''>", "", 0},
        {0, "Error", "", "TypeError: not asked for", "Error", "", 0},
        {QUIRK_ERROR_AS_STDERR, "Error", "",
         "/tmp/x.js:1\nthrow e\n^\n\nTypeError: no \xc3\xbc\n    at f:1:2\n", "TypeError",
         "no \xc3\xbc", 6},
        {QUIRK_ERROR_AS_STDERR, "Error", "", "1:7 - Type 'string' is not assignable\n", "Error",
         "1:7 - Type 'string' is not assignable", 1},
        {QUIRK_ERROR_AS_STDERR, "Error", "", "RangeError:", "RangeError", "", 1},
        {QUIRK_ERROR_AS_STDERR, "Error", "", " \n\n", "Error", "", 0},
        {QUIRK_ERROR_AS_STDERR, "Error", "", "\xff\xfe: x", "Error", "", 0},
        {QUIRK_CLASS_IN_EVALUE, "RuntimeException", "java.lang.Error, a, b", "", "java.lang.Error",
         "a, b", 0},
        {QUIRK_CLASS_IN_EVALUE, "RuntimeException", "java.lang.Error", "", "java.lang.Error", "",
         0},
        {QUIRK_CLASS_IN_EVALUE, "E", "[snippet: [1], 2]", "", "E", "[snippet: [1], 2]", 0},
        {QUIRK_ERROR_AS_STDERR, "E", "told", "F: said", "E", "told", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *error;
        mend(rows[i].quirks, rows[i].ename, rows[i].evalue, rows[i].said, &error);
        print_message("row %zu\n", i);
        assert_string_equal(json_string_value(json_object_get(error, "ename")), rows[i].new_ename);
        assert_string_equal(json_string_value(json_object_get(error, "evalue")),
                            rows[i].new_evalue);
        assert_int_equal(json_array_size(json_object_get(error, "traceback")), rows[i].n_lines);
        json_decref(error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_found_by_the_command_line),
        cmocka_unit_test(metadata_adds_to_it),
        cmocka_unit_test(errors_are_mended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
