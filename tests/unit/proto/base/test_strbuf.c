/* The growing buffer: content, ceiling, failure that sticks, hand-over. */
#include <errno.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/str.h"

static void test_appends_in_order(void **state)
{
    (void)state;
    cleanup_strbuf struct strbuf b;

    strbuf_init(&b, 0);
    assert_null(b.data);
    strbuf_adds(&b, "ab");
    strbuf_addc(&b, 'c');
    strbuf_addf(&b, "%d-%s", 42, "x");
    strbuf_add(&b, "\0z", 2);
    assert_int_equal(b.len, 9);
    assert_memory_equal(b.data, "abc42-x\0z", 10); /* and the NUL behind it */
    assert_int_equal(strbuf_check(&b), 0);
}

static void test_formats_of_every_length_around_the_capacity(void **state)
{
    (void)state;

    for (int n = 0; n < 300; n++) {
        cleanup_strbuf struct strbuf b;
        strbuf_init(&b, 0);
        strbuf_addc(&b, '<');
        strbuf_addf(&b, "%0*d", n + 1, 7);
        strbuf_addc(&b, '>');
        assert_int_equal(b.len, n + 3);
        assert_int_equal(b.data[n + 1], '7');
        assert_string_equal(b.data + n + 1, "7>");
    }
}

static void test_ceiling_is_exact_and_failure_sticks(void **state)
{
    (void)state;
    cleanup_strbuf struct strbuf b;

    strbuf_init(&b, 100);
    for (int i = 0; i < 100; i++)
        strbuf_addc(&b, 'x');
    assert_int_equal(strbuf_check(&b), 0);
    strbuf_addc(&b, 'y');
    assert_int_equal(strbuf_check(&b), -EOVERFLOW);
    strbuf_adds(&b, "");
    strbuf_addf(&b, "%s", "more");
    assert_int_equal(b.len, 100);
    assert_int_equal(b.data[99], 'x');
    assert_int_equal(b.data[100], '\0');
    strbuf_reset(&b);
    strbuf_adds(&b, "again");
    assert_int_equal(strbuf_check(&b), 0);
    assert_string_equal(b.data, "again");
}

static void test_a_text_that_does_not_fit_leaves_none_of_it(void **state)
{
    (void)state;
    cleanup_strbuf struct strbuf b;

    strbuf_init(&b, 8);
    strbuf_adds(&b, "1234");
    strbuf_addf(&b, "%s", "56789");
    assert_int_equal(strbuf_check(&b), -EOVERFLOW);
    assert_string_equal(b.data, "1234");
}

static void test_memory_stays_near_the_ceiling(void **state)
{
    (void)state;
    cleanup_strbuf struct strbuf b;

    strbuf_init(&b, 1000);
    for (int i = 0; i < 1000; i++)
        strbuf_addc(&b, 'x');
    assert_int_equal(strbuf_check(&b), 0);
    assert_true(b.cap <= 1001);
}

static void test_growth_is_geometric(void **state)
{
    (void)state;
    cleanup_strbuf struct strbuf b;
    size_t cap = 0;
    int grown = 0;

    strbuf_init(&b, 1 << 20);
    for (int i = 0; i < 1 << 20; i++) {
        strbuf_addc(&b, 'x');
        grown += b.cap != cap;
        cap = b.cap;
    }
    assert_int_equal(strbuf_check(&b), 0);
    assert_true(grown <= 36); /* log of 2^14 to the base 1.5 */
}

static void test_take_gives_the_text_away(void **state)
{
    (void)state;
    struct strbuf b;

    strbuf_init(&b, 10);
    char *text = strbuf_take(&b);
    assert_string_equal(text, ""); /* empty is not failed */
    free(text);
    strbuf_adds(&b, "abc");
    text = strbuf_take(&b);
    assert_string_equal(text, "abc");
    free(text);
    assert_null(b.data);
    assert_int_equal(b.max, 10);
    strbuf_adds(&b, "0123456789X");
    assert_null(strbuf_take(&b));
    assert_int_equal(strbuf_check(&b), 0); /* fresh again */
    strbuf_done(&b);
}

static void test_done_and_zeroed(void **state)
{
    (void)state;
    struct strbuf b = {0};

    strbuf_adds(&b, "works with the default ceiling");
    assert_int_equal(strbuf_check(&b), 0);
    strbuf_done(&b);
    strbuf_done(&b);
    assert_null(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_in_order),
        cmocka_unit_test(test_formats_of_every_length_around_the_capacity),
        cmocka_unit_test(test_ceiling_is_exact_and_failure_sticks),
        cmocka_unit_test(test_a_text_that_does_not_fit_leaves_none_of_it),
        cmocka_unit_test(test_memory_stays_near_the_ceiling),
        cmocka_unit_test(test_growth_is_geometric),
        cmocka_unit_test(test_take_gives_the_text_away),
        cmocka_unit_test(test_done_and_zeroed),
    };
    return cmocka_run_group_tests_name("strbuf", tests, NULL, NULL);
}
