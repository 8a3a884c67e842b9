/* The replay ring against a plain model: every byte and every run, around the wrap too (hardening G06). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/pty/ring.h"

static char byte_at(uint64_t offset)
{
    return (char)(offset * 31 + offset / 251);
}

static void write_n(struct ring *r, enum ring_stream stream, size_t n)
{
    char *p = malloc(n + 1);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = byte_at(ring_total(r) + i);
    ring_write(r, stream, p, n);
    free(p);
}

static void check_all(const struct ring *r)
{
    struct slice parts[2];

    for (uint64_t at = ring_oldest(r); at < ring_total(r);) {
        size_t n = ring_read(r, at, 77, parts);
        assert_true(n == 1 || n == 2);
        for (size_t i = 0; i < n; i++) {
            assert_true(parts[i].len > 0);
            for (size_t k = 0; k < parts[i].len; k++)
                assert_int_equal(parts[i].ptr[k], byte_at(at++));
        }
    }
    assert_int_equal(ring_read(r, ring_total(r), 77, parts), 0);
}

static void test_G06_every_wrap(void **state)
{
    (void)state;
    for (size_t step = 1; step <= 300; step += 7) {
        struct ring r;
        ring_init(&r, 128);
        assert_null(r.data); /* nothing is mapped before the first byte */
        for (int i = 0; i < 20; i++) {
            write_n(&r, RING_STDOUT, step);
            assert_int_equal(ring_total(&r), step * (size_t)(i + 1));
            assert_int_equal(ring_total(&r) - ring_oldest(&r), MIN(ring_total(&r), (uint64_t)128));
            check_all(&r);
        }
        ring_done(&r);
    }
}

static void test_runs(void **state)
{
    struct ring r;
    uint64_t end;
    (void)state;

    ring_init(&r, 1024);
    write_n(&r, RING_STDOUT, 10);
    assert_int_equal(ring_run_at(&r, 3, &end), RING_STDOUT);
    assert_int_equal(end, 10);
    assert_null(r.runs);
    write_n(&r, RING_STDERR, 5);
    write_n(&r, RING_STDERR, 2);
    write_n(&r, RING_STDOUT, 1);
    for (uint64_t at = 0; at < 18; at++) {
        enum ring_stream want = at >= 10 && at < 17 ? RING_STDERR : RING_STDOUT;
        assert_int_equal(ring_run_at(&r, at, &end), want);
        assert_int_equal(end, at < 10 ? 10 : at < 17 ? 17 : 18);
    }
    ring_done(&r);
}

static void test_runs_are_bounded(void **state)
{
    struct ring r;
    uint64_t end;
    (void)state;

    ring_init(&r, 1 << 20);
    for (int i = 0; i < 3 * RING_RUNS_MAX; i++)
        write_n(&r, i % 2 ? RING_STDERR : RING_STDOUT, 3);
    assert_int_equal(r.n_runs, RING_RUNS_MAX);
    assert_int_equal(ring_run_at(&r, 0, &end), RING_UNKNOWN);
    assert_int_equal(end, 3 * 2 * RING_RUNS_MAX);
    for (uint64_t at = end; at < ring_total(&r); at++) {
        uint64_t stop;
        assert_int_equal(ring_run_at(&r, at, &stop), at / 3 % 2 ? RING_STDERR : RING_STDOUT);
        assert_int_equal(stop, (at / 3 + 1) * 3);
    }
    check_all(&r);
    ring_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_G06_every_wrap),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_runs_are_bounded),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
