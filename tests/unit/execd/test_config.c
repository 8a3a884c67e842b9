/* Options: defaults, twins in the environment, the token, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/config.h"

#define MAX_WORDS 48

static struct config c; /* of the latest load */

/* Words separated by blanks become an argument vector in writable memory, as main gets it. */
static int load(const char *line, struct err *err)
{
    static char copy[512];
    static char *argv[MAX_WORDS + 2];
    int argc = 0;
    snprintf(copy, sizeof(copy), "execd %s", line);
    for (char *word = strtok(copy, " "); word != NULL && argc <= MAX_WORDS;
         word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    config_done(&c);
    return config_load(argc, argv, &c, err);
}

static int setup(void **state)
{
    (void)state;
    return clearenv();
}

static int teardown(void **state)
{
    (void)state;
    config_done(&c);
    return 0;
}

static void test_defaults(void **state)
{
    struct err err = {.text = ""};
    (void)state;
    assert_int_equal(load("--insecure", &err), CONFIG_RUN);
    assert_int_equal(c.port, 44772);
    assert_int_equal(c.n_listen, 0);
    assert_string_equal(c.inner_listen, "127.0.0.1:44771");
    assert_int_equal(c.grace_ms, 1000);
    assert_int_equal(c.log_level, LOG_LEVEL_INFO);
    assert_int_equal(c.line_endings, LINES_AUTO);
    assert_false(c.has_token);
    assert_false(c.exit_with_entrypoint);
    assert_null(c.entrypoint);
}

static void test_log_levels_of_both_kinds(void **state)
{
    static const struct {
        const char *text;
        enum log_level level;
    } rows[] = {{"0", LOG_LEVEL_ERROR}, {"2", LOG_LEVEL_ERROR},   {"3", LOG_LEVEL_ERROR},
                {"4", LOG_LEVEL_WARN},  {"5", LOG_LEVEL_INFO},    {"6", LOG_LEVEL_INFO},
                {"7", LOG_LEVEL_DEBUG}, {"warn", LOG_LEVEL_WARN}, {"DEBUG", LOG_LEVEL_DEBUG}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err;
        char line[64];
        snprintf(line, sizeof(line), "--insecure -log-level=%s", rows[i].text);
        assert_int_equal(load(line, &err), CONFIG_RUN);
        assert_int_equal(c.log_level, rows[i].level);
    }
}

static void test_what_comes_after_the_options_is_the_entrypoint(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(load("--insecure tail -f /dev/null", &err), CONFIG_RUN);
    assert_string_equal(c.entrypoint[0], "tail");
    assert_string_equal(c.entrypoint[1], "-f");
    assert_null(c.entrypoint[3]);
    assert_int_equal(load("--insecure --init -- -x y", &err), CONFIG_RUN);
    assert_string_equal(c.entrypoint[0], "-x");
    assert_true(c.exit_with_entrypoint);
}

static void test_token_is_hashed_and_wiped(void **state)
{
    static char secret[] = "EXECD_ACCESS_TOKEN=s3cret";
    uint8_t expected[SHA256_LEN];
    char hex[SHA256_HEX_LEN + 1], line[128];
    struct err err;
    (void)state;
    codec_sha256("s3cret", 6, expected);
    codec_hex(expected, SHA256_LEN, hex);
    putenv(secret);
    assert_int_equal(load("", &err), CONFIG_RUN);
    assert_true(c.has_token);
    assert_memory_equal(c.token_sha256, expected, SHA256_LEN);
    assert_int_equal(secret[sizeof("EXECD_ACCESS_TOKEN=") - 1], '\0');
    unsetenv("EXECD_ACCESS_TOKEN");
    snprintf(line, sizeof(line), "--access-token-sha256 %s", hex);
    assert_int_equal(load(line, &err), CONFIG_RUN);
    assert_memory_equal(c.token_sha256, expected, SHA256_LEN);
}

static void test_E14_exposure(void **state)
{
    static const struct {
        const char *where;
        bool exposed;
    } rows[] = {
        {"unix:/x", false},         {"127.0.0.1:1", false}, {"127.9.9.9:1", false},
        {"[::1]:1", false},         {"0.0.0.0:1", true},    {"[::]:1", true},
        {"10.0.0.1:1", true},       {"128.0.0.1:1", true},  {"localhost:1", false},
        {"127.0.0.1.evil:1", true}, {":1", true},           {"127.1:1", true},
    };
    struct err err = {.text = ""};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (config_is_exposed(rows[i].where) != rows[i].exposed)
            fail_msg("%s", rows[i].where);
    assert_true(load("", &err) < 0);
    assert_true(load("--listen 127.0.0.1:1 --listen 0.0.0.0:1", &err) < 0);
    assert_non_null(strstr(err.text, "0.0.0.0:1"));
    assert_int_equal(load("--listen 127.0.0.1:1 --listen unix:/x", &err), CONFIG_RUN);
    assert_int_equal(c.n_listen, 2);
    assert_int_equal(load("--listen 0.0.0.0:1 --access-token t", &err), CONFIG_RUN);
}

/* Who is told to give a token first learns later that the address was wrong. */
static void test_an_address_is_checked_before_a_token_is_asked_for(void **state)
{
    static const char *const lines[][2] = {
        {"--listen example.org:1", "--listen: listen 'example.org:1': 'example.org' is not an IP"},
        {"--listen 44772", "--listen: listen '44772': expected ADDRESS:PORT"},
        {"--listen [::1:1", "is not an IP address"},
        {"--listen 127.0.0.1:70000", "expected ADDRESS:PORT"},
        {"--gateway-listen 8888", "--gateway-listen: listen '8888': expected ADDRESS:PORT"},
        {"--listen 127.0.0.1:1 --file-server 8080", "--file-server: listen '8080': expected"},
        {"--listen 127.0.0.1:1 --inner-listen 1", "--inner-listen: listen '1': expected"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct err err = {.text = ""};
        assert_true(load(lines[i][0], &err) < 0);
        if (strstr(err.text, lines[i][1]) == NULL)
            fail_msg("%s: %s", lines[i][0], err.text);
    }
}

static void test_localhost_is_an_address_everywhere(void **state)
{
    struct err err = {.text = ""};
    (void)state;
    assert_int_equal(load("--listen localhost:1 --gateway-listen localhost:2 --file-server "
                          "localhost:3 --file-server-root / --inner-listen localhost:4",
                          &err),
                     CONFIG_RUN);
    assert_string_equal(c.listen[0], "localhost:1");
    assert_string_equal(c.inner_listen, "localhost:4");
}

/* The folder that nobody named may be made later; a named one that is missing is a mistake. */
static void test_a_named_folder_must_be_there(void **state)
{
    struct err err = {.text = ""};
    (void)state;
    assert_int_equal(load("--listen unix:/x --file-server 127.0.0.1:1", &err), CONFIG_RUN);
    assert_string_equal(c.shared.root, "/data/shared");
    assert_true(
        load("--listen unix:/x --file-server 127.0.0.1:1 --file-server-root /no/such", &err) < 0);
    assert_non_null(strstr(err.text, "--file-server-root: '/no/such': No such file"));
}

static void test_relative_paths_are_made_absolute(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(load("--listen unix:x/sock --log-file y", &err), CONFIG_RUN);
    assert_int_equal(strncmp(c.listen[0], "unix:/", 6), 0);
    assert_int_equal(c.log_file[0], '/');
}

static void test_E06_allowed_origins(void **state)
{
    char line[480] = "--insecure";
    struct err err = {.text = ""};
    (void)state;
    assert_int_equal(load("--insecure", &err), CONFIG_RUN);
    assert_null(c.allowed_origins[0]);
    assert_int_equal(load("--insecure --allow-origin https://a.b --allow-origin *", &err),
                     CONFIG_RUN);
    assert_string_equal(c.allowed_origins[0], "https://a.b");
    assert_string_equal(c.allowed_origins[1], "*");
    assert_null(c.allowed_origins[2]);
    for (size_t i = 0, at = strlen(line); i <= CONFIG_ORIGINS_MAX; i++)
        at += (size_t)snprintf(line + at, sizeof(line) - at, " --allow-origin a://%zu", i);
    assert_true(load(line, &err) < 0);
    assert_non_null(strstr(err.text, "more than 16 origins"));
}

static void test_mistakes_are_named(void **state)
{
    static const char *const lines[][2] = {
        {"--port 70000", "70000"},
        {"--port x", "--port"},
        {"--grace 11m", "--grace"},
        {"--seccomp maybe", "maybe"},
        {"--line-endings lf", "lf"},
        {"--log-level", "log-level"},
        {"--graec 1s", "grace"},
        {"--access-token-sha256 12", "64 hex"},
        {"--init", "no program"},
        {"--allow-origin example.org", "no origin"},
        {"--gateway-root /no/such", "--gateway-root: '/no/such': No such file"},
        {"--gateway-root /dev/null", "is no folder"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct err err = {.text = ""};
        char line[64];
        snprintf(line, sizeof(line), "--insecure %s", lines[i][0]);
        assert_true(load(line, &err) < 0);
        if (strstr(err.text, lines[i][1]) == NULL)
            fail_msg("%s: %s", lines[i][0], err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_defaults, setup),
        cmocka_unit_test_setup(test_log_levels_of_both_kinds, setup),
        cmocka_unit_test_setup(test_what_comes_after_the_options_is_the_entrypoint, setup),
        cmocka_unit_test_setup(test_token_is_hashed_and_wiped, setup),
        cmocka_unit_test_setup(test_E14_exposure, setup),
        cmocka_unit_test_setup(test_an_address_is_checked_before_a_token_is_asked_for, setup),
        cmocka_unit_test_setup(test_localhost_is_an_address_everywhere, setup),
        cmocka_unit_test_setup(test_a_named_folder_must_be_there, setup),
        cmocka_unit_test_setup(test_relative_paths_are_made_absolute, setup),
        cmocka_unit_test_setup(test_E06_allowed_origins, setup),
        cmocka_unit_test_setup(test_mistakes_are_named, setup),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, teardown);
}
