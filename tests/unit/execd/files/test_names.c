/* Batches of names: sorted, the lowest kept, and a walk over all of them batch by batch misses nothing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "execd/files/names.h"

static void test_sorted_by_bytes(void **state)
{
    (void)state;
    static const char *const given[] = {"b", "\xc3\xa9", "a", "B", "aa", "."};
    static const char *const wanted[] = {".", "B", "a", "aa", "b", "\xc3\xa9"};
    struct names names;

    names_init(&names, 1000);
    for (size_t i = 0; i < ARRAY_LEN(given); i++)
        assert_int_equal(names_add(&names, (unsigned char)('0' + i), given[i]), 0);
    names_sort(&names);
    assert_int_equal(names.n, ARRAY_LEN(given));
    for (size_t i = 0; i < names.n; i++)
        assert_string_equal(names_at(&names, i), wanted[i]);
    assert_int_equal(names_tag(&names, 0), '5');
    assert_false(names.dropped);
    names_done(&names);
    names_done(&names);
}

static void test_only_the_lowest_stay(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    char after[16] = "", name[16];
    unsigned seen = 0, batches = 0;
    bool more = true;

    while (more) {
        struct names names;
        names_init(&names, 500);
        for (unsigned i = 0; i < COUNT; i++) {
            snprintf(name, sizeof(name), "%04u", i * 7 % COUNT);
            if (strcmp(name, after) > 0)
                assert_int_equal(names_add(&names, 0, name), 0);
        }
        assert_true(names.used + names.n * sizeof(uint32_t) <= 500);
        assert_true(names_bytes(&names) <= 4096);
        names_sort(&names);
        for (size_t i = 0; i < names.n; i++) {
            snprintf(name, sizeof(name), "%04u", seen++);
            assert_string_equal(names_at(&names, i), name);
        }
        snprintf(after, sizeof(after), "%s", names_at(&names, names.n - 1));
        more = names.dropped;
        batches++;
        names_done(&names);
    }
    assert_int_equal(seen, COUNT);
    assert_true(batches > 10);
}

static void test_long_names(void **state)
{
    (void)state;
    char name[258];
    struct names names;

    names_init(&names,
               10); /* less than one name: one is kept all the same, or nothing would go on */
    memset(name, 'x', sizeof(name));
    name[256] = '\0';
    assert_int_equal(names_add(&names, 0, name), -ENAMETOOLONG);
    name[255] = '\0';
    assert_int_equal(names_add(&names, 0, name), 0);
    assert_int_equal(names_add(&names, 0, "y"), 0);
    assert_int_equal(names_add(&names, 0, "a"), 0);
    names_sort(&names);
    assert_int_equal(names.n, 2);
    assert_string_equal(names_at(&names, 0), "a");
    assert_string_equal(names_at(&names, 1), name);
    assert_true(names.dropped);
    names_done(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorted_by_bytes),
        cmocka_unit_test(test_only_the_lowest_stay),
        cmocka_unit_test(test_long_names),
    };
    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
