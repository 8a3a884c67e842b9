/* Name resolution is refused, so that nothing of the sandbox is loaded into PID 1. */
#include <arpa/inet.h>
#include <errno.h>
#include <iconv.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_names_are_refused(void **state)
{
    (void)state;
    struct addrinfo *list = NULL;

    assert_int_equal(getaddrinfo("localhost", NULL, NULL, &list), EAI_FAIL);
    assert_int_equal(getaddrinfo("127.0.0.1", "80", NULL, &list), EAI_FAIL);
    assert_int_equal(getaddrinfo("127.1", NULL, NULL, &list), EAI_FAIL);
    assert_int_equal(getaddrinfo("::1", NULL, NULL, &list), EAI_FAIL);
    assert_int_equal(getaddrinfo(NULL, NULL, NULL, &list), EAI_FAIL);
    assert_null(list);
    freeaddrinfo(list);
}

static void test_a_number_is_an_address(void **state)
{
    (void)state;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct sockaddr_in address;

    assert_int_equal(getaddrinfo("127.0.0.1", NULL, &hints, &list), 0);
    assert_int_equal(list->ai_family, AF_INET);
    assert_int_equal(list->ai_socktype, SOCK_STREAM);
    assert_int_equal(list->ai_addrlen, sizeof(address));
    assert_null(list->ai_next);
    memcpy(&address, list->ai_addr, sizeof(address));
    assert_int_equal(ntohl(address.sin_addr.s_addr), INADDR_LOOPBACK);
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
        cmocka_unit_test(test_names_are_refused),
        cmocka_unit_test(test_a_number_is_an_address),
        cmocka_unit_test(test_databases_are_empty),
        cmocka_unit_test(test_conversions_are_refused),
    };
    return cmocka_run_group_tests_name("no_nss", tests, NULL, NULL);
}
