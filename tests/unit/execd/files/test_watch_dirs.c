/* Directories by watch number: found, replaced, moved with what is below, dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "execd/files/watch_dirs.h"

static void put(struct watch_dirs *d, int wd, const char *path)
{
    assert_int_equal(watch_dirs_put(d, wd, path), 0);
}

static void test_put_find_remove(void **state)
{
    (void)state;
    struct watch_dirs d = {0};

    for (int i = 0; i < 100; i++) {
        char path[16];
        snprintf(path, sizeof(path), "d%d", i * 37 % 100);
        put(&d, i * 37 % 100, path);
    }
    put(&d, 5, "again");
    assert_int_equal(d.n, 100);
    assert_string_equal(watch_dirs_find(&d, 99), "d99");
    assert_string_equal(watch_dirs_find(&d, 5), "again");
    watch_dirs_remove(&d, 5);
    watch_dirs_remove(&d, 5);
    assert_null(watch_dirs_find(&d, 5));
    assert_null(watch_dirs_find(&d, 100));
    assert_int_equal(d.n, 99);
    watch_dirs_done(&d);
}

static void test_move(void **state)
{
    (void)state;
    struct watch_dirs d = {0};

    put(&d, 1, "");
    put(&d, 2, "a");
    put(&d, 3, "a/b");
    put(&d, 4, "ab");
    put(&d, 5, "x/a");
    assert_int_equal(watch_dirs_move(&d, "a", "new/longer"), 0);
    assert_string_equal(watch_dirs_find(&d, 1), "");
    assert_string_equal(watch_dirs_find(&d, 2), "new/longer");
    assert_string_equal(watch_dirs_find(&d, 3), "new/longer/b");
    assert_string_equal(watch_dirs_find(&d, 4), "ab");
    assert_string_equal(watch_dirs_find(&d, 5), "x/a");
    watch_dirs_done(&d);
}

static void on_drop(void *arg, int wd)
{
    *(int *)arg += wd;
}

static void test_drop(void **state)
{
    (void)state;
    struct watch_dirs d = {0};
    int dropped = 0;

    put(&d, 1, "");
    put(&d, 2, "a");
    put(&d, 4, "a/b");
    put(&d, 8, "ab");
    watch_dirs_drop(&d, "a", on_drop, &dropped);
    assert_int_equal(dropped, 6);
    assert_int_equal(d.n, 2);
    assert_string_equal(watch_dirs_find(&d, 8), "ab");
    watch_dirs_done(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_find_remove),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_drop),
    };
    return cmocka_run_group_tests_name("watch_dirs", tests, NULL, NULL);
}
