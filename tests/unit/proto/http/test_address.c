/* Where to listen: what is an address, what is local, what is said about the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/http/address.h"

static void addresses(void **state)
{
    static const struct {
        const char *where;
        int family;
        bool local;
    } rows[] = {
        {"127.0.0.1:0", AF_INET, true},      {"127.9.9.9:65535", AF_INET, true},
        {"localhost:8080", AF_INET, true},   {"0.0.0.0:1", AF_INET, false},
        {"[::1]:1", AF_INET6, true},         {"[::]:1", AF_INET6, false},
        {"[fd00::1]:1", AF_INET6, false},    {"[::ffff:127.0.0.1]:1", AF_INET6, false},
        {"unix:/run/x.sock", AF_UNIX, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_address address;
        assert_int_equal(http_address_parse(rows[i].where, &address, NULL), 0);
        assert_int_equal(address.sa.ss_family, rows[i].family);
        assert_int_equal(http_address_is_local(&address), rows[i].local);
        assert_int_equal(address.unix_path != NULL, rows[i].family == AF_UNIX);
    }
}

static void mistakes(void **state)
{
    char path[200] = "unix:/";
    const char *rows[][2] = {
        {"", "expected ADDRESS:PORT"},
        {"8080", "expected ADDRESS:PORT"},
        {":8080", "expected ADDRESS:PORT"},
        {"127.0.0.1", "expected ADDRESS:PORT"},
        {"127.0.0.1:", "expected ADDRESS:PORT"},
        {"127.0.0.1:65536", "expected ADDRESS:PORT"},
        {"127.0.0.1:-1", "expected ADDRESS:PORT"},
        {"[::1:1", "is not an IP address"},
        {"[]:1", "is not an IP address"},
        {"::1:1", "is not an IP address"},
        {"127.1:1", "'127.1' is not an IP address"},
        {"localhost.evil:1", "is not an IP address"},
        {"LOCALHOST:1", "is not an IP address"},
        {"[localhost]:1", "'localhost' is not an IP address"},
        {"unix:", "1 to 107 bytes"},
        {path, "1 to 107 bytes"},
    };
    (void)state;
    memset(path + strlen(path), 'x', sizeof(path) - strlen(path) - 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_address address;
        struct err err = {.text = ""};
        assert_true(http_address_parse(rows[i][0], &address, &err) < 0);
        if (strstr(err.text, rows[i][1]) == NULL)
            fail_msg("%s: %s", rows[i][0], err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(mistakes),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
