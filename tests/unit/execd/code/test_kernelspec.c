#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/code/kernelspec.h"

static char root[64];

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof(full), "%s/%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0755);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test-kernelspec-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

#define SPEC(language, name)                                                                       \
    "{\"argv\":[\"" name "\",\"{connection_file}\"],\"language\":\"" language "\"}"

static void the_choice_is_the_same_every_time_C9(void **state)
{
    (void)state;
    char path[256];
    put("one/kernels/zeta/kernel.json", SPEC("python", "zeta"));
    put("one/kernels/Python3/kernel.json", SPEC("Python", "third"));
    put("one/kernels/alpha/kernel.json", SPEC("lua", "alpha"));
    put("one/kernels/beta/kernel.json", SPEC("lua", "beta"));
    put("two/kernels/python/kernel.json", SPEC("python", "exact"));
    put("two/kernels/python3/kernel.json", SPEC("python", "hidden by the first folder"));
    snprintf(path, sizeof(path), "%s/one::%s/two:relative:", root, root);
    struct kernelspec_env env = {.jupyter_path = path, .home = root};
    struct kernelspecs *specs = kernelspecs_scan(&env);
    const struct kernelspec *spec = kernelspecs_find(specs, "PYTHON");
    assert_non_null(spec);
    assert_string_equal(spec->argv.items[0], "exact");
    assert_string_equal(kernelspecs_find(specs, "lua")->argv.items[0], "alpha");
    assert_null(kernelspecs_find(specs, "cobol"));
    char known[256], little[32];
    kernelspecs_known(specs, known, sizeof(known));
    assert_non_null(strstr(known, "lua (alpha), lua (beta), "));
    assert_non_null(strstr(known, "python"));
    kernelspecs_known(specs, little, sizeof(little));
    assert_string_equal(little + strlen(little) - 5, ", ...");
    assert_memory_equal(little, known, strlen(little) - 5);
    kernelspecs_free(specs);
    put("one/kernels/cobol/kernel.json", SPEC("cobol", "added"));
    specs = kernelspecs_scan(&env);
    assert_string_equal(kernelspecs_find(specs, "cobol")->argv.items[0], "added");
    kernelspecs_free(specs);
}

static void python3_comes_before_others(void **state)
{
    (void)state;
    char path[256];
    put("p/kernels/aaa/kernel.json", SPEC("python", "aaa"));
    put("p/kernels/python3/kernel.json", SPEC("python", "third"));
    snprintf(path, sizeof(path), "%s/p", root);
    struct kernelspecs *specs = kernelspecs_scan(&(struct kernelspec_env){.jupyter_path = path});
    assert_string_equal(kernelspecs_find(specs, "python")->argv.items[0], "third");
    kernelspecs_free(specs);
}

static void broken_specs_are_skipped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int expected;
    } rows[] = {
        {SPEC("x", "y"), 0},
        {"{\"argv\":[\"a\"],\"language\":\"x\",\"interrupt_mode\":\"message\",\"metadata\":{"
         "\"debugger\":true}}",
         0},
        {"{\"argv\":[\"a\"],\"language\":\"x\",\"env\":null,\"display_name\":null}", 0},
        {"", -EINVAL},
        {"[]", -EINVAL},
        {"{\"language\":\"x\"}", -EINVAL},
        {"{\"argv\":[],\"language\":\"x\"}", -EINVAL},
        {"{\"argv\":[\"\"],\"language\":\"x\"}", -EINVAL},
        {"{\"argv\":\"a\",\"language\":\"x\"}", -EINVAL},
        {"{\"argv\":[1],\"language\":\"x\"}", -EINVAL},
        {"{\"argv\":[\"a\"]}", -EINVAL},
        {"{\"argv\":[\"a\"],\"language\":\"\"}", -EINVAL},
        {"{\"argv\":[\"a\"],\"language\":\"x\",\"interrupt_mode\":\"shout\"}", -EINVAL},
        {"{\"argv\":[\"a\"],\"language\":\"x\",\"env\":[]}", -EINVAL},
        {"{\"argv\":[\"a\"],\"language\":\"x\",\"env\":{\"A\":1}}", -EINVAL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena;
        struct kernelspec spec = {0};
        struct err err = {0};
        arena_init(&arena);
        int r = kernelspec_parse(rows[i].text, strlen(rows[i].text), &arena, &spec, &err);
        if (r != rows[i].expected)
            fail_msg("%s: %d %s", rows[i].text, r, err.text);
        arena_done(&arena);
    }
}

static void hostile_folders_do_no_harm(void **state)
{
    (void)state;
    char path[256], fifo[512], link[512];
    static char big[KERNELSPEC_FILE_MAX + 2];
    memset(big, ' ', sizeof(big) - 1);
    put("h/kernels/big/kernel.json", big);
    put("h/kernels/bad name/kernel.json", SPEC("a", "a"));
    put("h/kernels/fifo/readme", "");
    snprintf(fifo, sizeof(fifo), "%s/h/kernels/fifo/kernel.json", root);
    assert_int_equal(mkfifo(fifo, 0666), 0);
    put("h/kernels/loop/readme", "");
    snprintf(link, sizeof(link), "%s/h/kernels/loop/kernel.json", root);
    assert_int_equal(symlink("kernel.json", link), 0);
    put("h/kernels/good/kernel.json", SPEC("good", "good"));
    snprintf(path, sizeof(path), "%s/h", root);
    struct kernelspecs *specs = kernelspecs_scan(&(struct kernelspec_env){.jupyter_path = path});
    assert_non_null(kernelspecs_find(specs, "good"));
    assert_null(kernelspecs_find(specs, "a"));
    assert_int_equal(specs->n_broken, 3); /* a name that no kernel may have is none */
    assert_non_null(strstr(kernelspecs_broken(specs, "BIG")->why, "at most 65536 bytes"));
    assert_non_null(strstr(kernelspecs_broken(specs, "fifo")->file, "/fifo/kernel.json"));
    assert_non_null(kernelspecs_broken(specs, "loop"));
    assert_null(kernelspecs_broken(specs, "good"));
    kernelspecs_free(specs);
}

static void an_importable_ipykernel_is_enough(void **state)
{
    (void)state;
    char path[256], program[512];
    put("venv/lib/python3.11/site-packages/ipykernel_launcher.py", "");
    put("venv/bin/python3", "#!/bin/sh\n");
    snprintf(program, sizeof(program), "%s/venv/bin/python3", root);
    assert_int_equal(chmod(program, 0755), 0);
    snprintf(path, sizeof(path), "/nowhere:%s/venv/bin", root);
    struct kernelspecs *specs = kernelspecs_scan(&(struct kernelspec_env){.path = path});
    const struct kernelspec *spec = kernelspecs_find(specs, "python");
    assert_non_null(spec);
    assert_string_equal(spec->name, "python3");
    assert_string_equal(spec->argv.items[0], "python3");
    kernelspecs_free(specs);
}

static void placeholders_are_replaced(void **state)
{
    (void)state;
    const char *items[] = {
        "run", "--f={connection_file}", "{resource_dir}/x", "{other}", "{", "{connection_file",
        NULL};
    struct kernelspec spec = {.argv = {items, 6}, .resource_dir = "/res"};
    static const char *const envp[] = {"A=1", "B=", NULL};
    struct arena arena;
    arena_init(&arena);
    const char *const *argv = kernelspec_argv(&spec, "/c.json", &arena);
    assert_string_equal(argv[0], "run");
    assert_string_equal(argv[1], "--f=/c.json");
    assert_string_equal(argv[2], "/res/x");
    assert_string_equal(argv[3], "{other}");
    assert_string_equal(argv[4], "{");
    assert_string_equal(argv[5], "{connection_file");
    assert_null(argv[6]);
    assert_string_equal(kernelspec_env_value("x${A}${B}${C}$A", envp, &arena), "x1$A");
    char *large = test_calloc(1, (128u << 10) + 2);
    memset(large, 'x', (128u << 10) + 1);
    assert_null(kernelspec_env_value(large, envp, &arena)); /* no exec would take it */
    large[100u << 10] = '\0';
    assert_string_equal(kernelspec_env_value(large, envp, &arena), large);
    test_free(large);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_choice_is_the_same_every_time_C9, set_up, tear_down),
        cmocka_unit_test_setup_teardown(python3_comes_before_others, set_up, tear_down),
        cmocka_unit_test(broken_specs_are_skipped),
        cmocka_unit_test_setup_teardown(hostile_folders_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_importable_ipykernel_is_enough, set_up, tear_down),
        cmocka_unit_test(placeholders_are_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
