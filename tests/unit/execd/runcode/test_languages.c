/* The table of languages: every row whole, and the row that is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/runcode/box.h"
#include "execd/runcode/languages.h"
#include "proto/base/mem.h"

static struct arena arena;
static char folder[] = "/tmp/languages-XXXXXX";
static char path[64];
static const char *envp[] = {path, NULL};

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "PATH=%s", folder);
    return 0;
}

static void with_program(const char *name, bool on)
{
    const char *file = arena_printf(&arena, "%s/%s", folder, name);

    if (!on) {
        assert_int_equal(unlink(file), 0);
        return;
    }
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_true(fd >= 0);
    close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    arena_done(&arena);
    return rmdir(folder);
}

/* A word that is one of the programs, or what compiling makes of the file. */
static void check_words(const char *const *words)
{
    size_t n = 0;

    while (n < LANGUAGE_WORDS && words[n] != NULL)
        assert_true(words[n++][0] != '\0');
    assert_true(n > 0 && n < LANGUAGE_WORDS);
}

static void test_every_row_is_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_languages; i++) {
        const struct language *l = &languages[i];
        const char *in_box;
        struct err err;
        assert_true(l->name[0] != '\0');
        assert_int_equal(box_path(l->file, &arena, &in_box, &err), 0);
        assert_string_equal(in_box, l->file);
        assert_null(strchr(l->file, '/'));
        check_words(l->run);
        if (l->compile[0] != NULL)
            check_words(l->compile);
        if (l->run[0][0] == '.') /* made by something */
            assert_non_null(l->compile[0]);
        for (size_t k = i + 2; k < n_languages; k++) /* rows of one name stand together */
            assert_true(strcmp(languages[k].name, l->name) != 0 ||
                        strcmp(languages[k - 1].name, l->name) == 0);
    }
}

static void test_the_first_row_that_can_be_used(void **state)
{
    const char *missing = "untouched";

    (void)state;
    assert_null(language_find("python", envp, &arena, &missing));
    assert_string_equal(missing, "python3");
    with_program("python", true);
    const struct language *l = language_find("python", envp, &arena, &missing);
    assert_string_equal(l->run[0], "python");
    with_program("python3", true);
    l = language_find("PYTHON", envp, &arena, &missing);
    assert_string_equal(l->run[0], "python3");
    with_program("python", false);
    with_program("python3", false);
}

static void test_the_compiler_counts_too(void **state)
{
    const char *missing = NULL;

    (void)state;
    with_program("java", true);
    assert_null(language_find("java", envp, &arena, &missing));
    assert_string_equal(missing, "javac");
    with_program("javac", true);
    assert_non_null(language_find("java", envp, &arena, &missing));
    with_program("java", false);
    assert_null(language_find("java", envp, &arena, &missing));
    assert_string_equal(missing, "java");
    with_program("javac", false);
    with_program("g++", true); /* what it makes is not looked for */
    assert_non_null(language_find("cpp", envp, &arena, &missing));
    with_program("g++", false);
}

static void test_no_such_language(void **state)
{
    const char *missing = "untouched";

    (void)state;
    assert_null(language_find("cobol", envp, &arena, &missing));
    assert_null(missing);
    assert_non_null(strstr(language_names(&arena), "python, bash, sh, nodejs, javascript"));
}

static void test_paths_in_the_box(void **state)
{
    static const char *const good[][2] = {
        {"a", "a"}, {"a/b", "a/b"}, {"./a//b/", "a/b"}, {"a/../b", "b"}, {"..a", "..a"}};
    static const char *const bad[] = {"", "/", "/a", ".", "..", "../a", "a/..", "a/../../b"};
    const char *out;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(box_path(good[i][0], &arena, &out, &err), 0);
        assert_string_equal(out, good[i][1]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(box_path(bad[i], &arena, &out, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_whole),
        cmocka_unit_test(test_the_first_row_that_can_be_used),
        cmocka_unit_test(test_the_compiler_counts_too),
        cmocka_unit_test(test_no_such_language),
        cmocka_unit_test(test_paths_in_the_box),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
