/* Name resolution is refused, so that nothing of the sandbox is loaded into PID 1. */
#include <errno.h>
#include <iconv.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_names_and_even_numbers_are_refused(void **state)
{
    (void)state;
    struct addrinfo *list = NULL;

    assert_int_equal(getaddrinfo("localhost", "80", NULL, &list), EAI_FAIL);
    assert_int_equal(getaddrinfo("127.0.0.1", "80", NULL, &list), EAI_FAIL);
    assert_null(list);
    freeaddrinfo(list);
}

static void test_databases_are_empty(void **state)
{
    (void)state;

    assert_null(getservbyname("http", "tcp"));
    assert_null(getprotobynumber(6));
    assert_null(gethostbyname("localhost"));
}

static void test_conversions_are_refused(void **state)
{
    (void)state;

    assert_true(iconv_open("UTF-8", "ISO-8859-1") == (iconv_t)-1);
    assert_int_equal(errno, EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_even_numbers_are_refused),
        cmocka_unit_test(test_databases_are_empty),
        cmocka_unit_test(test_conversions_are_refused),
    };
    return cmocka_run_group_tests_name("no_nss", tests, NULL, NULL);
}
