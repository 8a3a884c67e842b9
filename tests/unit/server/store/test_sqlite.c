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
#include <unistd.h>

#include "server/store/record.h"
#include "server/store/store.h"

static char folder[] = "/tmp/test_sqlite.XXXXXX";
static char path[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/server.db", folder);
    return 0;
}

static int remove_folder(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static struct sandbox sample(const char *id)
{
    static const char *argv[] = {"tail", "-f", "/dev/null", NULL};
    static struct jpair env[] = {{"A", "1"}, {"B", "line\nbreak \xe2\x82\xac"}};
    static struct jpair labels[] = {{"team", "a"}};
    struct sandbox sb = {.state = SANDBOX_RUNNING,
                         .spec = {.image = "python",
                                  .entrypoint = {argv, 3},
                                  .env = {env, 2},
                                  .metadata = {labels, 1},
                                  .memory_bytes = 1 << 30,
                                  .millicpu = 1500,
                                  .timeout_s = 600},
                         .reason = "CONTAINER_RUNNING",
                         .message = "up",
                         .created_us = 1700000000123456,
                         .expires_us = 1700000600123456,
                         .expires_boot_ms = 4711,
                         .boot_id = "b00t",
                         .runtime = "native",
                         .image_digest = "sha256:00",
                         .epoch = 3,
                         .runtime_data = "{\"pid\":7}"};

    snprintf(sb.id, sizeof(sb.id), "%s", id);
    return sb;
}

#define ID_A "11111111-2222-4333-8444-555555555555"
#define ID_B "99999999-2222-4333-8444-555555555555"

static int count_and_check(void *arg, struct sandbox *sb)
{
    if (strcmp(sb->id, ID_A) == 0) {
        assert_int_equal(sb->state, SANDBOX_RUNNING);
        assert_string_equal(sb->spec.env.items[1].value, "line\nbreak \xe2\x82\xac");
        assert_int_equal(sb->spec.entrypoint.n, 3);
        assert_null(sb->spec.entrypoint.items[3]);
        assert_int_equal(sb->spec.millicpu, 1500);
        assert_int_equal(sb->expires_boot_ms, 4711);
        assert_string_equal(sb->runtime_data, "{\"pid\":7}");
        assert_int_equal(sb->epoch, 3);
    }
    ++*(int *)arg;
    return 0;
}

static void test_what_was_put_is_there_after_reopening(void **state)
{
    struct sandbox a = sample(ID_A), b = sample(ID_B);
    struct store *store;
    struct err err = {0};
    int n = 0;

    (void)state;
    assert_int_equal(store_open(path, &store, &err), 0);
    assert_int_equal(store_put(store, &a, &err), 0);
    assert_int_equal(store_put(store, &b, &err), 0);
    assert_int_equal(store_put(store, &a, &err), 0); /* replaces */
    store_close(store);
    assert_int_equal(store_open(path, &store, &err), 0);
    assert_int_equal(store_each(store, count_and_check, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_int_equal(store_delete(store, ID_B, &err), 0);
    assert_int_equal(store_delete(store, ID_B, &err), 0); /* gone already */
    n = 0;
    assert_int_equal(store_each(store, count_and_check, &n, &err), 0);
    assert_int_equal(n, 1);
    store_close(store);
}

static void test_values(void **state)
{
    struct store *store;
    char buf[8];
    struct err err;

    (void)state;
    assert_int_equal(store_open(path, &store, &err), 0);
    assert_int_equal(store_get_value(store, "none", buf, sizeof(buf), &err), -ENOENT);
    assert_int_equal(store_put_value(store, "k", "1234567", &err), 0);
    assert_int_equal(store_get_value(store, "k", buf, sizeof(buf), &err), 0);
    assert_string_equal(buf, "1234567");
    assert_int_equal(store_get_value(store, "k", buf, 7, &err), -EOVERFLOW);
    store_close(store);
}

static void test_J17_two_servers_on_one_file(void **state)
{
    struct store *first, *second;
    struct err err = {0};

    (void)state;
    assert_int_equal(store_open(path, &first, &err), 0);
    assert_int_equal(store_open(path, &second, &err), -EBUSY);
    assert_non_null(strstr(err.text, "in use by another server"));
    store_close(first);
    assert_int_equal(store_open(path, &second, &err), 0);
    store_close(second);
}

static void test_J16_a_file_that_is_no_database(void **state)
{
    char other[80];
    struct store *store;
    struct err err = {0};

    (void)state;
    snprintf(other, sizeof(other), "%s/garbage.db", folder);
    int fd = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; i < 600; i++)
        assert_int_equal(write(fd, "not a database ", 15), 15);
    close(fd);
    assert_true(store_open(other, &store, &err) < 0);
    assert_non_null(strstr(err.text, "database"));
}

static void test_records_that_do_not_decode(void **state)
{
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{}",
                                      "{\"id\":\"x\",\"state\":\"Running\"}",
                                      "{\"id\":\"" ID_A "\",\"state\":\"Odd\"}",
                                      "{\"id\":\"" ID_A "\",\"state\":5}",
                                      "{\"id\":\"" ID_A
                                      "\",\"state\":\"Running\",\"created_us\":-1}"};
    struct sandbox sb;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(record_decode(bad[i], &sb, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_put_is_there_after_reopening),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_J17_two_servers_on_one_file),
        cmocka_unit_test(test_J16_a_file_that_is_no_database),
        cmocka_unit_test(test_records_that_do_not_decode),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
