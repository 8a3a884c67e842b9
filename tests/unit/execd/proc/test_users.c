/* Users and groups from hostile files: the right entry, or none; never uid 0 by a parse error. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "execd/proc/users.h"
#include "execd/proc/users_priv.h"

static char etc[64];

static void path_of(const char *name, char *out)
{
    snprintf(out, 128, "%s/%s", etc, name);
}

static void write_bytes(const char *name, const void *bytes, size_t len)
{
    char path[128];
    path_of(name, path);
    unlink(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    fclose(file);
}

static void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static int setup(void **state)
{
    (void)state;
    snprintf(etc, sizeof(etc), "/tmp/test_users.XXXXXX");
    users_etc_dir = mkdtemp(etc);
    return users_etc_dir != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char path[128];
    (void)state;
    path_of("passwd", path);
    unlink(path);
    path_of("group", path);
    unlink(path);
    return rmdir(etc);
}

static void test_entries_are_found_by_name_and_number(void **state)
{
    struct user u;
    (void)state;
    write_text("passwd",
               "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1001:Ann,,,:/home/ann:/bin/sh\n");
    assert_int_equal(users_by_name("ann", &u), 0);
    assert_int_equal(u.uid, 1000);
    assert_int_equal(u.gid, 1001);
    assert_string_equal(u.home, "/home/ann");
    assert_string_equal(u.shell, "/bin/sh");
    assert_int_equal(users_by_uid(0, &u), 0);
    assert_true(u.known);
    assert_string_equal(u.name, "root");
    assert_int_equal(users_by_uid(77, &u), 0);
    assert_false(u.known);
    assert_int_equal(u.uid, 77);
    assert_string_equal(u.name, "");
    assert_string_equal(u.home, "/");
    assert_true(users_by_name("bob", &u) < 0);
}

static void test_A20_odd_entries_are_never_root(void **state)
{
    static const char *const lines[] = {
        "x::::::",
        "x:x:-1:0::/:",
        "x:x:4294967295:0::/:",
        "x:x:4294967296:0::/:",
        "x:x:+0:0::/:",
        "x:x: 0:0::/:",
        "x:x:0x0:0::/:",
        "x:x:abc:0::/:",
        "x:x:1:::/:",
        "x:x:1:-1::/:",
        "x:x",
        "+x:x:0:0::/:",
        "-x:x:0:0::/:",
        "#x:x:0:0::/:",
        ":x:0:0::/:",
        "x:x:1:4294967295:",
        "x:x:99999999999999999999:0::/:",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct user u = {.uid = 12345};
        char text[128];
        snprintf(text, sizeof(text), "%s\nlast:x:5:6::/:\n", lines[i]);
        write_text("passwd", text);
        assert_true(users_by_name("x", &u) < 0);
        assert_true(users_by_name("+x", &u) < 0);
        assert_int_equal(u.uid, 12345);
        assert_int_equal(users_by_name("last", &u), 0); /* what follows is read all the same */
    }
}

static void test_A20_nul_bytes_and_long_lines_are_skipped(void **state)
{
    static const char nul[] = "evil\0:x:0:0::/:\nev\0il:x:0:0::/:\ngood:x:7:8::/:\n";
    struct user u;
    (void)state;
    write_bytes("passwd", nul, sizeof(nul) - 1);
    assert_true(users_by_name("evil", &u) < 0);
    assert_int_equal(users_by_name("good", &u), 0);

    char *text = malloc(200000);
    memset(text, 'a', 100000);
    strcpy(text + 100000, ":x:0:0::/:\ngood:x:7:8::/:\n");
    write_text("passwd", text);
    assert_int_equal(users_by_name("good", &u), 0);
    assert_int_equal(u.uid, 7);
    free(text);
}

static void test_A20_huge_file_is_bounded(void **state)
{
    size_t len = 64U << 20, at = 0;
    char *text = malloc(len);
    struct user u;
    struct timespec from, to;
    (void)state;
    at += (size_t)sprintf(text, "first:x:3:4::/:\n");
    while (at + 64 < len)
        at += (size_t)sprintf(text + at, "user%zu:x:%zu:1::/home:/bin/sh\n", at, at % 60000);
    write_bytes("passwd", text, at);
    free(text);
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(users_by_name("first", &u), 0);
    assert_true(users_by_name("nobody-there", &u) < 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_true(to.tv_sec - from.tv_sec <
                2); /* bounded work: a hang fails, a slow machine does not */
}

static void test_A20_cut_off_last_line_is_not_used(void **state)
{
    size_t len = (1U << 20) + 100;
    char *text = malloc(len);
    struct user u;
    (void)state;
    memset(text, '\n', len);
    /* The limit falls behind "x:x:1", whose next digits make it 1000. */
    memcpy(text + (1U << 20) - 5, "x:x:1000:1000::/:\n", 18);
    write_bytes("passwd", text, len);
    assert_true(users_by_name("x", &u) < 0);
    free(text);
}

static void test_A20_odd_files_do_not_block(void **state)
{
    char path[128];
    struct user u;
    gid_t gid;
    (void)state;
    path_of("passwd", path);
    unlink(path);
    assert_true(users_by_name("root", &u) < 0);
    assert_int_equal(mkfifo(path, 0644), 0);
    assert_true(users_by_name("root", &u) < 0);
    assert_int_equal(users_by_uid(0, &u), 0);
    assert_false(u.known);
    unlink(path);
    assert_int_equal(symlink("passwd", path), 0);
    assert_true(users_by_name("root", &u) < 0);
    unlink(path);
    assert_int_equal(symlink("/dev/zero", path), 0);
    assert_true(users_by_name("root", &u) < 0);
    unlink(path);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_true(users_by_name("root", &u) < 0);
    rmdir(path);
    assert_true(users_group_by_name("root", &gid) < 0);
}

static void test_changes_are_seen(void **state)
{
    struct user u;
    (void)state;
    write_text("passwd", "ann:x:1:1::/:\n");
    assert_int_equal(users_by_name("ann", &u), 0);
    write_text("passwd", "ann:x:22:1::/:\n");
    assert_int_equal(users_by_name("ann", &u), 0);
    assert_int_equal(u.uid, 22);
}

static void test_groups_of_a_user(void **state)
{
    gid_t groups[8], gid;
    char name[256];
    (void)state;
    write_text("group", "root:x:0:\nteam:x:50:bob,ann\nother:x:51:annette,bob\nwheel:x:52:ann\nbad:"
                        "x:-1:ann\nown:x:1001:ann\n");
    assert_int_equal(users_groups("ann", 1001, groups, 8), 3);
    assert_int_equal(groups[0], 1001);
    assert_int_equal(groups[1], 50);
    assert_int_equal(groups[2], 52);
    assert_int_equal(users_groups("ann", 1001, groups, 2), 2);
    assert_int_equal(users_groups("", 9, groups, 8), 1);
    assert_int_equal(users_group_by_name("wheel", &gid), 0);
    assert_int_equal(gid, 52);
    assert_true(users_group_by_name("bad", &gid) < 0);
    users_group_name(51, name, sizeof(name));
    assert_string_equal(name, "other");
    users_group_name(999, name, sizeof(name));
    assert_string_equal(name, "999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_are_found_by_name_and_number),
        cmocka_unit_test(test_A20_odd_entries_are_never_root),
        cmocka_unit_test(test_A20_nul_bytes_and_long_lines_are_skipped),
        cmocka_unit_test(test_A20_huge_file_is_bounded),
        cmocka_unit_test(test_A20_cut_off_last_line_is_not_used),
        cmocka_unit_test(test_A20_odd_files_do_not_block),
        cmocka_unit_test(test_changes_are_seen),
        cmocka_unit_test(test_groups_of_a_user),
    };
    return cmocka_run_group_tests_name("users", tests, setup, teardown);
}
