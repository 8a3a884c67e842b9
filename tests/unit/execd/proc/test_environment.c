/* The environment of children: what is withheld, the env file's grammar, precedence, working directories. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/proc/environment.h"
#include "proto/base/mem.h"

static char folder[64], env_file[96];

static const char *value_of(const struct jmap *map, const char *key)
{
    const char *found = NULL;
    for (size_t i = 0; i < map->n; i++)
        if (strcmp(map->items[i].key, key) == 0) {
            assert_null(found); /* names are unique */
            found = map->items[i].value;
        }
    return found;
}

static void write_env_file(const char *text)
{
    FILE *file = fopen(env_file, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* One process, one capture: the environment is prepared before. */
static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/test_env.XXXXXX");
    if (mkdtemp(folder) == NULL || chdir(folder) < 0)
        return -1;
    snprintf(env_file, sizeof(env_file), "%s/env file", folder);
    clearenv();
    setenv("PATH", "/usr/bin:/bin", 1);
    setenv("HOME", "/root", 1);
    setenv("KEPT", "kept", 1);
    setenv("DIR", folder, 1);
    setenv("EXECD_ENVS", "$DIR/env file", 1);
    setenv("EXECD_ACCESS_TOKEN", "canary", 1);
    setenv("EXECD_ENVSX", "canary", 1);
    setenv("JUPYTER_TOKEN", "canary", 1);
    setenv("OPENSANDBOX_ID", "box", 1);
    setenv("OPENSANDBOX_API_KEY", "canary", 1);
    setenv("OPENSANDBOX_Secret_X", "canary", 1);
    environment_capture();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(env_file);
    return chdir("/") == 0 ? rmdir(folder) : -1;
}

static void test_A24_secrets_are_withheld_and_erased(void **state)
{
    const char *const *vars = environment_daemon();
    (void)state;
    for (size_t i = 0; vars[i] != NULL; i++)
        assert_null(strstr(vars[i], "canary"));
    assert_string_equal(environment_get(vars, "KEPT"), "kept");
    assert_string_equal(environment_get(vars, "OPENSANDBOX_ID"), "box");
    assert_string_equal(environment_get(vars, "EXECD_ENVS"), "$DIR/env file");
    assert_null(environment_get(vars, "EXECD_ENVSX"));
    assert_null(environment_get(vars, "KEP"));
    assert_string_equal(getenv("EXECD_ACCESS_TOKEN"), "");
    assert_string_equal(getenv("JUPYTER_TOKEN"), "");
}

static void test_env_file_grammar(void **state)
{
    static const struct {
        const char *text, *key, *value; /* value NULL: no such entry */
    } rows[] = {
        {"A=plain text\n", "A", "plain text"},
        {"A=  trimmed \t\r\n", "A", "trimmed"},
        {"  A = spaced\n", "A", "spaced"},
        {"A=no newline", "A", "no newline"},
        {"A=\n", "A", ""},
        {"A=''\n", "A", ""},
        {"A='cost $5 ${HOME} tail'\n", "A", "cost $5 ${HOME} tail"},
        {"A='two\nlines'\nB=x\n", "A", "two\nlines"},
        {"A='two\nlines'\nB=x\n", "B", "x"},
        {"A=a=b=c\n", "A", "a=b=c"},
        {"A=\"it's fine\"\n", "A", "it's fine"},
        {"A=\"n\\nr\\rt\\tb\\\\q\\\"\"\n", "A", "n\nr\rt\tb\\q\""},
        {"A=\"other \\x escape\"\n", "A", "other \\x escape"},
        {"A=\"two\nlines\"\n", "A", "two\nlines"},
        {"A=$KEPT/${KEPT}\n", "A", "kept/kept"},
        {"A=\"$KEPT\"\n", "A", "kept"},
        {"A=[$UNDEFINED]\n", "A", "[]"},
        {"A=$5 $$ $ ${ ${x y}\n", "A", "$5 $$ $ ${ ${x y}"},
        {"A=1\nA=2\nA=3\n", "A", "3"},
        {"# A=comment\nB=x\n", "A", NULL},
        {"\n\n  \nA=x\n", "A", "x"},
        {"no entry\nA=x\n", "A", "x"},
        {"=x\nA=y\n", "A", "y"},
        {"export A=x\nB=y\n", "B", "y"},
        {"A=x\nB='unfinished\nC=y\n", "A", "x"},
        {"A=x\nB='unfinished\nC=y\n", "B", NULL},
        {"A=\"unfinished", "A", NULL},
        {"A=\"quoted\"rest\nB=x\n", "A", "\"quoted\"rest"},
        {"A='quoted'   \n", "A", "quoted"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena;
        struct jmap map;
        arena_init(&arena);
        assert_int_equal(
            environment_parse_file(&arena, rows[i].text, strlen(rows[i].text), &map, NULL), 0);
        const char *value = value_of(&map, rows[i].key);
        if (rows[i].value == NULL)
            assert_null(value);
        else if (value == NULL || strcmp(value, rows[i].value) != 0)
            fail_msg("row %zu: %s = %s, not %s", i, rows[i].key, value, rows[i].value);
        arena_done(&arena);
    }
}

static void test_bad_lines_are_counted(void **state)
{
    static const char text[] = "good=1\nbad\n=bad\nba d=1\nA=\0x\n";
    struct arena arena;
    struct jmap map;
    size_t bad;
    (void)state;
    arena_init(&arena);
    assert_int_equal(environment_parse_file(&arena, text, sizeof(text) - 1, &map, &bad), 0);
    assert_int_equal(bad, 4);
    assert_int_equal(map.n, 1);
    arena_done(&arena);
}

static void test_a_hostile_file_is_bounded(void **state)
{
    size_t len = 1U << 20;
    char *text = malloc(len);
    struct arena arena;
    struct jmap map;
    size_t bad;
    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i + 8 <= len; i += 8) {
        char entry[16];
        snprintf(entry, sizeof(entry), "%c%05zx=\n", 'a' + (char)(i % 26), (i / 8) & 0xfffff);
        memcpy(text + i, entry, 8);
    }
    assert_int_equal(environment_parse_file(&arena, text, len, &map, &bad), 0);
    assert_int_equal(map.n, 10000);
    assert_true(bad > 100000);
    free(text);
    arena_done(&arena);
}

static void test_precedence_is_daemon_file_request(void **state)
{
    struct arena arena;
    struct err err;
    const char *const *envp;
    struct jpair pairs[] = {{"C", "request"}, {"NEW", "x=y"}};
    struct jmap overlay = {.items = pairs, .n = 2};
    (void)state;
    arena_init(&arena);
    write_env_file("KEPT=file\nC=file\nB=file\n");
    assert_int_equal(environment_build(&arena, &overlay, &envp, &err), 0);
    assert_string_equal(environment_get(envp, "HOME"), "/root");
    assert_string_equal(environment_get(envp, "KEPT"), "file");
    assert_string_equal(environment_get(envp, "B"), "file");
    assert_string_equal(environment_get(envp, "C"), "request");
    assert_string_equal(environment_get(envp, "NEW"), "x=y");
    write_env_file("B=again\n");
    assert_int_equal(environment_build(&arena, NULL, &envp, &err), 0);
    assert_string_equal(environment_get(envp, "B"), "again");
    assert_null(environment_get(envp, "C"));
    arena_done(&arena);
}

static void test_an_odd_env_file_is_ignored(void **state)
{
    struct arena arena;
    struct err err;
    const char *const *envp;
    (void)state;
    arena_init(&arena);
    unlink(env_file);
    assert_int_equal(environment_build(&arena, NULL, &envp, &err), 0);
    assert_int_equal(mkfifo(env_file, 0600), 0);
    assert_int_equal(environment_build(&arena, NULL, &envp, &err), 0);
    assert_string_equal(environment_get(envp, "KEPT"), "kept");
    unlink(env_file);
    write_env_file("A=x\n");
    assert_int_equal(truncate(env_file, 2 << 20), 0);
    assert_int_equal(environment_build(&arena, NULL, &envp, &err), 0);
    assert_null(environment_get(envp, "A"));
    arena_done(&arena);
}

static void test_B10_bad_names_are_refused(void **state)
{
    static const char *const names[] = {"", "=", "a=b"};
    struct arena arena;
    const char *const *envp;
    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i < 3; i++) {
        struct err err = {.text = ""};
        struct jpair pair = {names[i], "x"};
        struct jmap overlay = {.items = &pair, .n = 1};
        assert_int_equal(environment_build(&arena, &overlay, &envp, &err), -EINVAL);
        assert_non_null(strstr(err.text, "variable name"));
    }
    arena_done(&arena);
}

static void test_B11_working_directories(void **state)
{
    char file[128], missing[128];
    snprintf(file, sizeof(file), "%s/file", folder);
    snprintf(missing, sizeof(missing), "%s/missing", folder);
    const struct {
        const char *cwd, *result, *text; /* result NULL: refused with this in its text */
    } rows[] = {
        {NULL, folder, NULL},
        {"", folder, NULL},
        {".", folder, NULL},
        {folder, folder, NULL},
        {"$DIR", folder, NULL},
        {"$D/..", "/tmp", NULL},
        {"/tmp/../tmp//", "/tmp", NULL},
        {missing, NULL, "working directory does not exist: "},
        {"missing", NULL, "working directory does not exist: "},
        {file, NULL, "working directory path is not a directory: "},
        {"file/below", NULL, "working directory does not exist: "},
        {"$UNDEFINED_NAME/x", NULL, "UNDEFINED_NAME"},
    };
    char assignment[128];
    snprintf(assignment, sizeof(assignment), "D=%s", folder);
    char dir[128];
    snprintf(dir, sizeof(dir), "DIR=%s", folder);
    const char *const envp[] = {assignment, dir, NULL};
    (void)state;
    fclose(fopen(file, "w"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena;
        struct err err = {.text = ""};
        const char *cwd = NULL;
        arena_init(&arena);
        int result = environment_resolve_cwd(&arena, rows[i].cwd, envp, &cwd, &err);
        if (rows[i].result != NULL) {
            assert_int_equal(result, 0);
            assert_string_equal(cwd, rows[i].result);
        } else {
            assert_true(result < 0);
            if (strstr(err.text, rows[i].text) == NULL)
                fail_msg("row %zu: %s", i, err.text);
        }
        arena_done(&arena);
    }
    unlink(file);
}

static void test_home_is_that_of_the_daemon(void **state)
{
    struct arena arena;
    struct err err;
    const char *const envp[] = {"HOME=/nonexistent", NULL};
    const char *cwd;
    (void)state;
    arena_init(&arena);
    assert_int_equal(environment_resolve_cwd(&arena, "~", envp, &cwd, &err), 0);
    assert_string_equal(cwd, "/root");
    assert_int_equal(environment_resolve_cwd(&arena, "~/..", envp, &cwd, &err), 0);
    assert_string_equal(cwd, "/");
    arena_done(&arena);
}

static void test_a_missing_directory_is_made(void **state)
{
    const char *const envp[] = {"NAME=a$b", NULL};
    char middle[96], wanted[112];
    struct arena arena;
    struct err err = {.text = ""};
    const char *cwd;
    (void)state;
    snprintf(middle, sizeof(middle), "%s/a$b", folder);
    snprintf(wanted, sizeof(wanted), "%s/c", middle);
    arena_init(&arena);
    for (int again = 0; again < 2; again++) { /* what a value holds is not expanded again */
        assert_int_equal(environment_make_cwd(&arena, "$NAME/c", envp, &cwd, &err), 0);
        assert_string_equal(cwd, wanted);
        assert_int_equal(access(wanted, F_OK), 0);
    }
    assert_int_equal(environment_make_cwd(&arena, "/", envp, &cwd, &err), 0);
    assert_string_equal(cwd, "/");
    assert_int_equal(rmdir(wanted), 0);
    fclose(fopen(wanted, "w"));
    assert_true(environment_make_cwd(&arena, wanted, envp, &cwd, &err) < 0);
    arena_done(&arena);
    assert_int_equal(unlink(wanted) | rmdir(middle), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_A24_secrets_are_withheld_and_erased),
        cmocka_unit_test(test_env_file_grammar),
        cmocka_unit_test(test_bad_lines_are_counted),
        cmocka_unit_test(test_a_hostile_file_is_bounded),
        cmocka_unit_test(test_precedence_is_daemon_file_request),
        cmocka_unit_test(test_an_odd_env_file_is_ignored),
        cmocka_unit_test(test_B10_bad_names_are_refused),
        cmocka_unit_test(test_B11_working_directories),
        cmocka_unit_test(test_home_is_that_of_the_daemon),
        cmocka_unit_test(test_a_missing_directory_is_made),
    };
    return cmocka_run_group_tests_name("environment", tests, setup, teardown);
}
