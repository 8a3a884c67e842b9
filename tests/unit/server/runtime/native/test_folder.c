#include "server/runtime/native/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ID "0b2c4a1e-0000-4000-8000-000000000001"

struct place {
    char path[64];
    int fd;
};

static int set_up(void **state)
{
    struct place *p = xnew(struct place);

    snprintf(p->path, sizeof(p->path), "/tmp/test_folder.XXXXXX");
    assert_non_null(mkdtemp(p->path));
    p->fd = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = p;
    return p->fd < 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    close(p->fd);
    int rc = rmdir(p->path); /* every test empties it */
    free(p);
    return rc;
}

static void test_state_survives_the_round_trip(void **state)
{
    const struct place *p = *state;
    const char *groups[] = {"/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/cpu/x", NULL};
    struct folder_state in = {.pid = 4711,
                              .start_time = UINT64_C(1) << 40,
                              .boot_id = "boot",
                              .groups = {groups, 2}},
                        out;
    struct arena arena;
    struct err err = {0};

    arena_init(&arena);
    assert_int_equal(mkdirat(p->fd, ID, 0700), 0);
    assert_int_equal(folder_write_state(p->fd, ID, folder_state_text(&in, &arena)), 0);
    assert_int_equal(folder_read_state(p->fd, ID, &arena, &out, &err), 0);
    assert_int_equal(out.pid, 4711);
    assert_int_equal(out.start_time, UINT64_C(1) << 40);
    assert_string_equal(out.boot_id, "boot");
    assert_int_equal(out.groups.n, 2);
    assert_string_equal(out.groups.items[1], groups[1]);
    arena_done(&arena);
    assert_int_equal(folder_delete(p->fd, ID), 0);
}

static void test_odd_states_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"pid\":-1,\"start_time\":1,\"boot_id\":\"x\"}",
        "{\"pid\":1,\"start_time\":1}",
        "{\"pid\":1,\"start_time\":1,\"boot_id\":\"x\",\"groups\":[\"relative\"]}",
        "{\"pid\":1e3,\"start_time\":1,\"boot_id\":\"x\"}",
    };
    struct folder_state out;
    struct arena arena;
    struct err err = {0};

    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(folder_state_parse(bad[i], &arena, &out, &err) < 0);
    arena_done(&arena);
}

static void test_start_time_tells_processes_apart(void **state)
{
    (void)state;
    assert_true(folder_process_start(getpid()) > 0);
    assert_int_equal(folder_process_start(getpid()), folder_process_start(getpid()));
    assert_int_equal(folder_process_start(0x7ffffff0), 0);
    assert_false(folder_process_is_ending(getpid()));
    assert_false(folder_process_is_ending(0x7ffffff0));
}

/* Links are not followed, whatever they point to; permissions do not matter; depth does not either. */
static void test_L24_deletes_what_a_hostile_owner_left(void **state)
{
    const struct place *p = *state;
    cleanup_fd int keep = openat(p->fd, "keep", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(keep >= 0);
    assert_int_equal(mkdirat(p->fd, ID, 0700), 0);
    assert_int_equal(symlinkat("../keep", p->fd, ID "/file-link"), 0);
    assert_int_equal(symlinkat("..", p->fd, ID "/folder-link"), 0);
    cleanup_fd int dir = openat(p->fd, ID, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int depth = 0; depth < 300; depth++) {
        assert_int_equal(mkdirat(dir, "d", 0700), 0);
        assert_int_equal(mknodat(dir, "fifo", S_IFIFO | 0600, 0), 0);
        int next = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(dir);
        dir = next;
    }
    assert_int_equal(fchmod(dir, 0), 0);
    assert_int_equal(folder_delete(p->fd, ID), 0);
    assert_int_equal(folder_delete(p->fd, ID), 0); /* again: nothing to do */
    assert_int_equal(faccessat(p->fd, "keep", F_OK, 0), 0);
    assert_int_equal(unlinkat(p->fd, "keep", 0), 0);
}

static void test_the_log_is_trimmed(void **state)
{
    const struct place *p = *state;
    struct stat st;

    assert_int_equal(mkdirat(p->fd, ID, 0700), 0);
    cleanup_fd int log = folder_open_log(p->fd, ID);
    assert_true(log >= 0);
    assert_int_equal(write(log, "12345678", 8), 8);
    folder_trim_log(p->fd, ID, 8);
    assert_int_equal(fstat(log, &st), 0);
    assert_int_equal(st.st_size, 8);
    folder_trim_log(p->fd, ID, 7);
    assert_int_equal(write(log, "9", 1), 1);
    assert_int_equal(fstat(log, &st), 0);
    assert_int_equal(st.st_size, 1);
    assert_int_equal(folder_delete(p->fd, ID), 0);
}

static void test_socket_names_are_short(void **state)
{
    const struct place *p = *state;
    char path[108];

    assert_int_equal(folder_socket_path(p->fd, ID, path, sizeof(path)), 0);
    assert_true(strlen(path) < 80);
    assert_int_equal(folder_socket_path(p->fd, ID, path, 20), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_state_survives_the_round_trip, set_up, tear_down),
        cmocka_unit_test(test_odd_states_are_refused),
        cmocka_unit_test(test_start_time_tells_processes_apart),
        cmocka_unit_test_setup_teardown(test_L24_deletes_what_a_hostile_owner_left, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_the_log_is_trimmed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_socket_names_are_short, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
