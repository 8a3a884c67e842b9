/* Options: every spelling, the environment behind the flags, texts that teach, help within 80 columns. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/fd.h"
#include "proto/base/options.h"
#include "proto/base/str.h"

struct target {
    bool verbose;
    const char *name;
    const char *listen;
    int calls;
    char called_with[64];
};

static int on_label(void *target, const char *value, struct err *err)
{
    struct target *t = target;

    if (value[0] == '\0')
        return err_set(err, 0, EINVAL, "a label is never empty");
    t->calls++;
    snprintf(t->called_with, sizeof(t->called_with), "%s", value);
    return 0;
}

static const struct option_row rows[] = {
    {.name = "verbose",
     .letter = 'v',
     .kind = OPTION_FLAG,
     .env = "TEST_OPT_VERBOSE",
     .help = "Say more.",
     .group = "General",
     .offset = offsetof(struct target, verbose)},
    {.name = "name",
     .letter = 'n',
     .kind = OPTION_STRING,
     .env = "TEST_OPT_NAME",
     .arg = "NAME",
     .help = "The name of the thing, which is explained at such length here that the printer has "
             "to wrap it twice or "
             "even more often than that.",
     .offset = offsetof(struct target, name)},
    {.name = "listen",
     .kind = OPTION_STRING,
     .arg = "ADDRESS",
     .help = "Where to listen.",
     .group = "Network",
     .offset = offsetof(struct target, listen)},
    {.name = "a-label-with-a-long-name",
     .letter = 'l',
     .kind = OPTION_CALL,
     .arg = "KEY=VALUE",
     .help = "May be given several times.",
     .call = on_label},
};

static int parse(struct target *t, int *next, struct err *err, const char *a, const char *b,
                 const char *c)
{
    const char *words[] = {"program", a, b, c, NULL};
    char *argv[5];
    int argc = 0;

    for (; argc < 4 && words[argc] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc];
    argv[argc] = NULL;
    memset(t, 0, sizeof(*t));
    *err = (struct err){0};
    return options_parse(rows, ARRAY_LEN(rows), argc, argv, t, next, err);
}

static void test_every_spelling(void **state)
{
    (void)state;
    static const char *const spellings[][2] = {
        {"--name", "x"}, {"--name=x", NULL}, {"-name", "x"}, {"-name=x", NULL}, {"-n", "x"}};
    struct target t;
    struct err err;
    int next;

    for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
        assert_int_equal(parse(&t, &next, &err, spellings[i][0], spellings[i][1], NULL), 0);
        assert_string_equal(t.name, "x");
        assert_int_equal(next, spellings[i][1] != NULL ? 3 : 2);
    }
    assert_int_equal(parse(&t, &next, &err, "-v", "--name=", "--listen=a=b"), 0);
    assert_true(t.verbose);
    assert_string_equal(t.name, "");
    assert_string_equal(t.listen, "a=b");
    assert_int_equal(parse(&t, &next, &err, "--verbose=false", NULL, NULL), 0);
    assert_false(t.verbose);
    assert_int_equal(parse(&t, &next, &err, "-l", "a=1", "--a-label-with-a-long-name=b=2"), 0);
    assert_int_equal(t.calls, 2);
    assert_string_equal(t.called_with, "b=2");
}

static void test_where_parsing_stops(void **state)
{
    (void)state;
    struct target t;
    struct err err;
    int next = -1;

    assert_int_equal(parse(&t, &next, &err, "-v", "run", "--name=x"), 0);
    assert_int_equal(next, 2);
    assert_null(t.name);
    assert_int_equal(parse(&t, &next, &err, "--", "-v", NULL), 0);
    assert_int_equal(next, 2);
    assert_false(t.verbose);
    assert_int_equal(parse(&t, &next, &err, "-", NULL, NULL), 0);
    assert_int_equal(next, 1);
    assert_int_equal(parse(&t, &next, &err, NULL, NULL, NULL), 0);
    assert_int_equal(next, 1);
}

static void expect_refusal(const char *a, const char *b, const char *text)
{
    struct target t;
    struct err err;
    int next = 77;

    assert_int_equal(parse(&t, &next, &err, a, b, NULL), -EINVAL);
    if (strstr(err.text, text) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, text);
    assert_int_equal(next, 77);
}

static void test_refusals_teach(void **state)
{
    (void)state;
    expect_refusal("--nmae=x", NULL, "--name");
    expect_refusal("--quite-another-thing", NULL, "--help");
    expect_refusal("--name", NULL, "NAME");
    expect_refusal("--verbose=perhaps", NULL, "perhaps");
    expect_refusal("-x", NULL, "-x");
    expect_refusal("--v", NULL, "--v"); /* letters have one dash */
    expect_refusal("-l", "", "never empty");
}

static void test_environment_stands_behind_the_flag(void **state)
{
    (void)state;
    struct target t;
    struct err err;
    int next;

    setenv("TEST_OPT_NAME", "from-env", 1);
    setenv("TEST_OPT_VERBOSE", "yes", 1);
    assert_int_equal(parse(&t, &next, &err, NULL, NULL, NULL), 0);
    assert_string_equal(t.name, "from-env");
    assert_true(t.verbose);
    assert_int_equal(parse(&t, &next, &err, "--name=flag", "--verbose=0", NULL), 0);
    assert_string_equal(t.name, "flag");
    assert_false(t.verbose);
    setenv("TEST_OPT_VERBOSE", "perhaps", 1);
    assert_int_equal(parse(&t, &next, &err, NULL, NULL, NULL), -EINVAL);
    assert_non_null(strstr(err.text, "TEST_OPT_VERBOSE"));
    setenv("TEST_OPT_VERBOSE", "", 1); /* empty is absent */
    assert_int_equal(parse(&t, &next, &err, NULL, NULL, NULL), 0);
    unsetenv("TEST_OPT_NAME");
    unsetenv("TEST_OPT_VERBOSE");
}

static void test_help_is_whole_and_narrow(void **state)
{
    (void)state;
    static const char *const parts[] = {"General:\n",
                                        "\nNetwork:\n",
                                        "  -v, --verbose",
                                        "  -n, --name NAME",
                                        "      --listen ADDRESS",
                                        "[$TEST_OPT_NAME]",
                                        "--a-label-with-a-long-name KEY=VALUE\n",
                                        "May be given several times."};
    char text[8192];
    int fds[2];

    assert_int_equal(fd_pipe(fds), 0);
    options_print_help(rows, ARRAY_LEN(rows), fds[1]);
    close(fds[1]);
    ssize_t n = fd_read_full(fds[0], text, sizeof(text) - 1);
    close(fds[0]);
    assert_true(n > 0);
    text[n] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (strstr(text, parts[i]) == NULL)
            fail_msg("no '%s' in:\n%s", parts[i], text);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        assert_true(strlen(line) <= 80);
        assert_false(str_ends(line, " "));
    }
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"memory", "cpu", "timeout"};

    assert_string_equal(options_nearest("memroy", names, 3), "memory");
    assert_string_equal(options_nearest("timeoutt", names, 3), "timeout");
    assert_null(options_nearest("entirely-else", names, 3));
    assert_null(options_nearest("x", names, 0));
    char endless[5000];
    memset(endless, 'm', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    assert_null(options_nearest(endless, names, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_spelling),
        cmocka_unit_test(test_where_parsing_stops),
        cmocka_unit_test(test_refusals_teach),
        cmocka_unit_test(test_environment_stands_behind_the_flag),
        cmocka_unit_test(test_help_is_whole_and_narrow),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
