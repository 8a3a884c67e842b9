/* The log: every line is one JSON object whatever is in it, nothing blocks, nothing is lost uncounted. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "proto/base/cleanup.h"
#include "proto/base/fd.h"
#include "proto/base/log.h"

static int reader, writer;

static int set_up(void **state)
{
    int fds[2];

    (void)state;
    if (fd_pipe(fds) < 0 || fd_set_nonblock(fds[0], true) < 0 || fd_set_nonblock(fds[1], true) < 0)
        return -1;
    reader = fds[0];
    writer = fds[1];
    log_init(writer, LOG_LEVEL_INFO);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_init(STDERR_FILENO, LOG_LEVEL_INFO);
    close(reader);
    close(writer);
    return 0;
}

/* The next write as an object; it must be one line. */
static json_t *next_line(void)
{
    char buf[8192];
    ssize_t n = read(reader, buf, sizeof(buf));

    assert_true(n > 0 && n <= 4096);
    assert_int_equal(buf[n - 1], '\n');
    assert_ptr_equal(memchr(buf, '\n', (size_t)n), buf + n - 1);
    json_error_t error;
    json_t *json = json_loadb(buf, (size_t)n, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        fail_msg("%s in %.*s", error.text, (int)n, buf);
    return json;
}

static void expect_text(const json_t *json, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(json, key));

    assert_non_null(value);
    assert_string_equal(value, text);
}

static void expect_nothing(void)
{
    char c;
    assert_true(read(reader, &c, 1) < 0 && errno == EAGAIN);
}

static void test_a_line_has_its_keys(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_WARN, "mod", "something", "a", "1", "b", NULL, NULL);
    json_t *line = next_line();
    expect_text(line, "level", "warn");
    expect_text(line, "module", "mod");
    expect_text(line, "msg", "something");
    expect_text(line, "a", "1");
    assert_true(json_is_null(json_object_get(line, "b")));
    const char *ts = json_string_value(json_object_get(line, "ts"));
    assert_non_null(ts);
    assert_true(strlen(ts) >= 20 && ts[10] == 'T' && ts[strlen(ts) - 1] == 'Z');
    json_decref(line);
}

static void test_levels_filter(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_DEBUG, "m", "x", NULL);
    log_printf(LOG_LEVEL_DEBUG, "m", "x");
    expect_nothing();
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(log_get_level(), LOG_LEVEL_ERROR);
    log_event(LOG_LEVEL_WARN, "m", "x", NULL);
    expect_nothing();
    log_printf(LOG_LEVEL_ERROR, "m", "%d", 5);
    json_t *line = next_line();
    expect_text(line, "msg", "5");
    json_decref(line);
}

static void test_level_names(void **state)
{
    (void)state;
    enum log_level level = LOG_LEVEL_ERROR;

    assert_int_equal(log_level_parse("DEBUG", &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_parse("warning", &level), 0);
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_int_equal(log_level_parse("", &level), -EINVAL);
    assert_int_equal(log_level_parse("loud", &level), -EINVAL);
}

static void test_no_value_forges_a_line(void **state)
{
    (void)state;
    char all[256];

    for (int i = 0; i < 255; i++)
        all[i] = (char)(i + 1);
    all[255] = '\0';
    log_event(LOG_LEVEL_INFO, "m", "a\"}\n{\"level\":\"error\"", "k", "\xe2\x80\xa8\xc2\x85 \x01\\",
              "all", all, NULL);
    json_t *line = next_line();
    expect_text(line, "level", "info");
    expect_text(line, "msg", "a\"}\n{\"level\":\"error\"");
    expect_text(line, "k", "\xef\xbf\xbd\xef\xbf\xbd \x01\\");
    assert_true(json_string_length(json_object_get(line, "all")) > 255);
    json_decref(line);
}

static void test_long_lines_are_cut_and_stay_json(void **state)
{
    (void)state;
    char text[6000];

    /* Every length around the limit, with characters of one, two and six bytes at the edge. */
    for (size_t n = 3900; n < 4100; n++) {
        static const char *const tails[] = {"x", "\xc3\xa4", "\x01", "\""};
        memset(text, 'x', n);
        const char *tail = tails[n % ARRAY_LEN(tails)];
        for (size_t i = 0; i < 20; i++)
            memcpy(text + n + i * strlen(tail), tail, strlen(tail));
        text[n + 20 * strlen(tail)] = '\0';
        log_event(LOG_LEVEL_INFO, "m", text, "a-key-that-may-not-fit", "v", "b", NULL, NULL);
        json_t *line = next_line();
        expect_text(line, "level", "info");
        json_decref(line);
    }
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_printf(LOG_LEVEL_INFO, "m", "%s", text);
    json_decref(next_line());
}

static void test_keys_at_every_place_near_the_end(void **state)
{
    (void)state;
    char text[4096];

    for (size_t n = 3850; n < 4010; n++) {
        memset(text, 'x', n);
        text[n] = '\0';
        log_event(LOG_LEVEL_INFO, "m", text, "k", "v", "null", NULL, "key", "\"\"\"", NULL);
        json_decref(next_line());
    }
}

static void test_a_full_pipe_drops_and_counts(void **state)
{
    (void)state;
    char fill[4096] = {0}, back[65536];
    unsigned before = log_lost_lines();

    assert_int_equal(before, 0);
    while (write(writer, fill, sizeof(fill)) > 0)
        continue;
    log_event(LOG_LEVEL_INFO, "m", "lost", NULL);
    log_event(LOG_LEVEL_INFO, "m", "lost too", NULL);
    assert_int_equal(log_lost_lines(), 2);
    while (read(reader, back, sizeof(back)) > 0)
        continue;
    log_event(LOG_LEVEL_INFO, "m", "here again", NULL);
    json_t *line = next_line();
    assert_int_equal(json_integer_value(json_object_get(line, "lost_lines")), 2);
    json_decref(line);
    assert_int_equal(log_lost_lines(), 0);
    log_event(LOG_LEVEL_INFO, "m", "as ever", NULL);
    line = next_line();
    assert_null(json_object_get(line, "lost_lines"));
    json_decref(line);
}

static void test_libevent_speaks_through_us(void **state)
{
    (void)state;
    log_capture_libevent();
    /* libevent warns when an event goes that was never assigned to a base. */
    event_base_free(NULL);
    json_t *line = next_line();
    expect_text(line, "module", "libevent");
    expect_text(line, "level", "warn");
    json_decref(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_line_has_its_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_levels_filter, set_up, tear_down),
        cmocka_unit_test(test_level_names),
        cmocka_unit_test_setup_teardown(test_no_value_forges_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_lines_are_cut_and_stay_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keys_at_every_place_near_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_pipe_drops_and_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_libevent_speaks_through_us, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
