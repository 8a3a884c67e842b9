/* Bookkeeping memory and the arena: zeroed, aligned, separate, freed as a whole, faults survived. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/mem.h"

/* link: -Wl,--wrap=malloc */

static bool no_memory;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);

void *__wrap_malloc(size_t n)
{
    return no_memory ? NULL : __real_malloc(n);
}

static void test_x_functions(void **state)
{
    (void)state;
    cleanup_free char *a = xstrdup("abc");
    cleanup_free char *b = xstrndup("abcdef", 2);
    cleanup_free char *c = xasprintf("%s-%d", a, 7);
    cleanup_free char *zero = xmalloc(0);
    cleanup_free int *n = xcalloc(4, sizeof(int));

    assert_string_equal(a, "abc");
    assert_string_equal(b, "ab");
    assert_string_equal(c, "abc-7");
    assert_non_null(zero);
    assert_int_equal(n[0] | n[3], 0);
    n = xrealloc(n, 100 * sizeof(int));
    n[99] = 1;
}

static void test_take_ptr_and_fd(void **state)
{
    (void)state;
    cleanup_free char *p = xstrdup("x");
    char *taken = take_ptr(&p);

    assert_null(p);
    assert_string_equal(taken, "x");
    free(taken);
    cleanup_fd int fd = dup(STDIN_FILENO);
    int number = fd, given = take_fd(&fd);
    assert_int_equal(fd, -1);
    assert_int_equal(given, number);
    assert_int_equal(close(given), 0);
}

static void test_exhaustion_aborts(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        close(STDERR_FILENO);
        no_memory = true;
        _exit(xmalloc(1) != NULL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_arena_is_zeroed_aligned_and_separate(void **state)
{
    (void)state;
    struct arena a;
    unsigned char *pieces[300];
    size_t sizes[300];

    arena_init(&a);
    for (size_t i = 0; i < 300; i++) {
        sizes[i] = i % 7 == 0 ? 5000 + i : i;
        pieces[i] = arena_alloc(&a, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], (int)(i & 0xff), sizes[i]);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(pieces[i][k], i & 0xff);
    arena_done(&a);
    arena_done(&a);
    assert_null(a.head);
}

static void test_arena_counts_what_it_gave(void **state)
{
    (void)state;
    struct arena a = {0};

    (void)arena_alloc(&a, 1);
    (void)arena_alloc(&a, 100000);
    assert_true(a.used >= 100001 && a.used < 100100);
    arena_done(&a);
    assert_int_equal(a.used, 0);
}

static void test_arena_texts(void **state)
{
    (void)state;
    struct arena a = {0};

    assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
    assert_string_equal(arena_strndup(&a, "", 0), "");
    assert_string_equal(arena_printf(&a, "%s/%d", "x", 12), "x/12");
    arena_done(&a);
}

static void test_arena_refuses_what_it_cannot_give(void **state)
{
    (void)state;
    struct arena a = {0};

    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 15));
    assert_null(arena_strndup(&a, "x", SIZE_MAX));
    assert_non_null(arena_alloc(&a, 16));
    no_memory = true;
    void *large = arena_alloc(&a, 100000);
    char *text = arena_printf(&a, "%5000d", 1);
    no_memory = false;
    assert_null(large);
    assert_null(text);
    assert_non_null(arena_alloc(&a, 16)); /* still usable */
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_x_functions),
        cmocka_unit_test(test_take_ptr_and_fd),
        cmocka_unit_test(test_exhaustion_aborts),
        cmocka_unit_test(test_arena_is_zeroed_aligned_and_separate),
        cmocka_unit_test(test_arena_counts_what_it_gave),
        cmocka_unit_test(test_arena_texts),
        cmocka_unit_test(test_arena_refuses_what_it_cannot_give),
    };
    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
