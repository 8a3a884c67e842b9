/* Descriptors: whole reads and writes, slurps with a bound, closing in bulk, standard streams. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/fd.h"

/* link: -Wl,--wrap=read -Wl,--wrap=write -Wl,--wrap=close_range */

/* Each call of read and write is first interrupted, then given half of what it wants. */
static bool torn;
static bool interrupted;
static bool no_close_range;

ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n);
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
int __real_close_range(unsigned first, unsigned last, int flags);
int __wrap_close_range(unsigned first, unsigned last, int flags);

static bool interrupt(void)
{
    interrupted = torn && !interrupted;
    if (interrupted)
        errno = EINTR;
    return interrupted;
}

ssize_t __wrap_read(int fd, void *p, size_t n)
{
    return interrupt() ? -1 : __real_read(fd, p, torn ? (n + 1) / 2 : n);
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    return interrupt() ? -1 : __real_write(fd, p, torn ? (n + 1) / 2 : n);
}

int __wrap_close_range(unsigned first, unsigned last, int flags)
{
    if (!no_close_range)
        return __real_close_range(first, last, flags);
    errno = ENOSYS;
    return -1;
}

struct fixture {
    char folder[64];
    int dir;
};

static int set_up(void **state)
{
    static struct fixture f;

    memcpy(f.folder, "/tmp/test_fd.XXXXXX", sizeof("/tmp/test_fd.XXXXXX"));
    if (mkdtemp(f.folder) == NULL)
        return -1;
    f.dir = open(f.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = &f;
    return f.dir < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    torn = no_close_range = false;
    (void)unlinkat(f->dir, "file", 0);
    close(f->dir);
    return rmdir(f->folder);
}

static void write_file(int dir, const void *p, size_t n)
{
    cleanup_fd int fd = openat(dir, "file", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, p, n), 0);
}

static void test_whole_reads_and_writes_despite_interruptions(void **state)
{
    struct fixture *f = *state;
    char out[1000], in[1000];

    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (char)i;
    torn = true;
    write_file(f->dir, out, sizeof(out));
    cleanup_fd int fd = openat(f->dir, "file", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fd_read_full(fd, in, sizeof(in)), sizeof(in));
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(fd_read_full(fd, in, sizeof(in)), 0);
    assert_int_equal(fd_read_full(-1, in, 1), -EBADF);
    assert_int_equal(fd_write_all(-1, out, 1), -EBADF);
}

static void test_slurp_has_an_exact_bound(void **state)
{
    struct fixture *f = *state;
    char buf[9];

    write_file(f->dir, "12345678", 8);
    assert_int_equal(fd_slurp_at(f->dir, "file", buf, 9), 8);
    assert_string_equal(buf, "12345678");
    assert_int_equal(fd_slurp_at(f->dir, "file", buf, 8), -EFBIG);
    assert_int_equal(fd_slurp_at(f->dir, "none", buf, 8), -ENOENT);
    assert_int_equal(fd_slurp_at(f->dir, ".", buf, 8), -EISDIR);
}

static void test_slurp_alloc_of_every_size_around_its_steps(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 4097, 8191, 8192, 100000};
    char *content = malloc(100000);

    assert_non_null(content);
    memset(content, 'c', 100000);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *data = NULL;
        size_t len = 77;
        write_file(f->dir, content, sizes[i]);
        assert_int_equal(fd_slurp_alloc(f->dir, "file", sizes[i], &data, &len), 0);
        assert_int_equal(len, sizes[i]);
        assert_int_equal(data[len], '\0');
        assert_memory_equal(data, content, len);
        free(data);
        data = NULL;
        if (sizes[i] > 0)
            assert_int_equal(fd_slurp_alloc(f->dir, "file", sizes[i] - 1, &data, &len), -EFBIG);
        assert_null(data);
    }
    free(content);
}

static void test_slurp_of_procfs_which_has_no_size(void **state)
{
    (void)state;
    char *data = NULL;
    size_t len = 0;

    assert_int_equal(fd_slurp_alloc(AT_FDCWD, "/proc/self/maps", 1 << 22, &data, &len), 0);
    assert_true(len > 100 && strlen(data) == len);
    free(data);
}

static void test_slurp_does_not_wait_for_a_fifo(void **state)
{
    struct fixture *f = *state;
    char buf[8];

    assert_int_equal(mkfifoat(f->dir, "file", 0600), 0);
    assert_int_equal(fd_slurp_at(f->dir, "file", buf, sizeof(buf)), 0);
}

static void test_spew_writes_at_the_start_of_an_existing_file(void **state)
{
    struct fixture *f = *state;
    char buf[16];

    assert_int_equal(fd_spew_at(f->dir, "file", "x"), -ENOENT);
    write_file(f->dir, "12345", 5);
    assert_int_equal(fd_spew_at(f->dir, "file", "max"), 0);
    assert_int_equal(fd_slurp_at(f->dir, "file", buf, sizeof(buf)), 5);
    assert_string_equal(buf, "max45"); /* as for a control file: not truncated */
}

static void test_born_with_cloexec(void **state)
{
    (void)state;
    int fds[2];

    assert_int_equal(fd_pipe(fds), 0);
    int copy = fd_dup_cloexec(fds[0]);
    assert_true(copy >= 3);
    assert_int_equal(fcntl(fds[0], F_GETFD) & fcntl(fds[1], F_GETFD) & fcntl(copy, F_GETFD),
                     FD_CLOEXEC);
    assert_int_equal(fd_set_nonblock(fds[0], true), 0);
    char c;
    assert_int_equal(fd_read_full(fds[0], &c, 1), -EAGAIN);
    assert_int_equal(fd_set_nonblock(fds[0], false), 0);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(fd_dup_cloexec(-1), -EBADF);
    assert_int_equal(fd_set_nonblock(-1, true), -EBADF);
    close(fds[0]);
    close(fds[1]);
    close(copy);
}

/* In a child, whose descriptors are its own. Returns what the child found wrong. */
static int in_child(int (*body)(void))
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int close_all_from_ten(void)
{
    int low = dup2(STDIN_FILENO, 9), high = dup2(STDIN_FILENO, 10), far = dup2(STDIN_FILENO, 300);

    if (low != 9 || high != 10 || far != 300)
        return 1;
    fd_close_from(10);
    if (!is_open(9))
        return 2;
    return is_open(10) || is_open(300) ? 3 : 0;
}

static void test_close_from_both_ways(void **state)
{
    (void)state;
    assert_int_equal(in_child(close_all_from_ten), 0);
    no_close_range = true;
    assert_int_equal(in_child(close_all_from_ten), 0);
}

static int fix_two_of_three(void)
{
    char c = 'x';

    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    if (fd_fix_stdio() != 0)
        return 1;
    if (read(STDIN_FILENO, &c, 1) != 0)
        return 2;
    if (write(STDOUT_FILENO, &c, 1) != 1)
        return 3;
    return (fcntl(STDIN_FILENO, F_GETFD) | fcntl(STDOUT_FILENO, F_GETFD)) == 0 ? 0 : 4;
}

/* An empty root without /dev/null: the numbers are taken, so that no socket becomes "stderr". */
static int fix_in_an_empty_root(void)
{
    if (chroot("/proc/self/fdinfo") != 0)
        return 77;
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    if (fd_fix_stdio() != 0)
        return 1;
    if (!is_open(STDOUT_FILENO) || !is_open(STDERR_FILENO))
        return 2;
    return write(STDERR_FILENO, "x", 1) < 0 && errno == EBADF ? 0 : 3;
}

static void test_fix_stdio(void **state)
{
    (void)state;
    assert_int_equal(in_child(fix_two_of_three), 0);
}

static void test_fix_stdio_in_an_empty_root(void **state)
{
    (void)state;
    int found = in_child(fix_in_an_empty_root);

    if (found == 77) {
        print_message("SKIP: chroot needs root\n");
        skip();
    }
    assert_int_equal(found, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole_reads_and_writes_despite_interruptions, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_slurp_has_an_exact_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slurp_alloc_of_every_size_around_its_steps, set_up,
                                        tear_down),
        cmocka_unit_test(test_slurp_of_procfs_which_has_no_size),
        cmocka_unit_test_setup_teardown(test_slurp_does_not_wait_for_a_fifo, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_spew_writes_at_the_start_of_an_existing_file, set_up,
                                        tear_down),
        cmocka_unit_test(test_born_with_cloexec),
        cmocka_unit_test_setup_teardown(test_close_from_both_ways, set_up, tear_down),
        cmocka_unit_test(test_fix_stdio),
        cmocka_unit_test(test_fix_stdio_in_an_empty_root),
    };
    return cmocka_run_group_tests_name("fd", tests, NULL, NULL);
}
