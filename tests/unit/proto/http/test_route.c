/* Matching on the path decoded once, segment by segment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/mem.h"
#include "proto/http/route.h"

static const struct route routes[] = {
    {.method = "GET", .pattern = "/"},
    {.method = "GET", .pattern = "/ping"},
    {.method = "POST", .pattern = "/command"},
    {.method = "DELETE", .pattern = "/command"},
    {.method = "GET", .pattern = "/command/status/:id"},
    {.method = "GET", .pattern = "/command/:id/logs"},
    {.method = "*", .pattern = "/proxy/:port/*rest"},
};

static struct arena arena;
static struct route_match match;

static int find(const char *method, const char *path)
{
    arena_done(&arena);
    arena_init(&arena);
    return route_find(routes, ARRAY_LEN(routes), method, path, &arena, &match, NULL);
}

static const char *found(const char *method, const char *path)
{
    return find(method, path) == 0 && match.route ? match.route->pattern : NULL;
}

static void test_patterns(void **state)
{
    (void)state;
    assert_string_equal(found("GET", "/"), "/");
    assert_string_equal(found("GET", "/ping"), "/ping");
    assert_string_equal(found("HEAD", "/ping"), "/ping");
    assert_string_equal(found("GET", "/command/status/x%20y"), "/command/status/:id");
    assert_int_equal(match.n_params, 1);
    assert_string_equal(match.params[0].value, "x y");
    assert_string_equal(found("GET", "/command/7/logs"), "/command/:id/logs");
    assert_string_equal(match.params[0].value, "7");
    assert_string_equal(found("PATCH", "/proxy/80/a%2Fb//c/"), "/proxy/:port/*rest");
    assert_string_equal(match.params[0].value, "80");
    assert_string_equal(match.params[1].value, "a%2Fb//c/");
    assert_string_equal(found("GET", "/proxy/80"), "/proxy/:port/*rest");
    assert_string_equal(match.params[1].value, "");
    assert_string_equal(found("GET", "/proxy/80/"), "/proxy/:port/*rest");
    assert_string_equal(match.params[1].value, "");
}

static void test_methods_and_allow(void **state)
{
    (void)state;
    assert_null(found("PUT", "/command"));
    assert_true(match.path_known);
    assert_string_equal(match.allow, "POST, DELETE");
    assert_null(found("POST", "/ping"));
    assert_string_equal(match.allow, "GET, HEAD");
    assert_null(found("GET", "/nope"));
    assert_false(match.path_known);
}

static void test_E02_nothing_is_normalised(void **state)
{
    (void)state;
    static const char *const unknown[] = {
        "//ping",
        "/ping/",
        "/PING",
        "/ping;x",
        "/./ping",
        "/ping/../command",
        "/ping/.",
        "/ping%2f..%2fcommand",
        "/ping%2F",
        "/%2fping",
        "/command/status/",
        "/command//logs",
        "/ping%20",
        "*",
        "/proxy",
        "/proxy//x",
        "\\ping",
    };

    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        if (found("GET", unknown[i]))
            fail_msg("%s matched %s", unknown[i], match.route->pattern);
    }
    assert_string_equal(found("GET", "/%70ing"), "/ping");
}

static void test_D57_bad_paths(void **state)
{
    (void)state;
    static const char *const bad[] = {"/a%00",   "/%",   "/%4",  "/%zz",        "/%c0%af",
                                      "/%u002e", "/%0a", "/%7f", "/proxy/1/%00"};
    char deep[4096] = "";

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_true(find("GET", bad[i]) < 0);
    assert_string_equal(found("GET", "/command/status/%252e"), "/command/status/:id");
    assert_string_equal(match.params[0].value, "%2e");
    for (size_t i = 0; i < 1000; i++)
        memcpy(deep + 2 * i, "/a", 3);
    assert_null(found("GET", deep));
    memcpy(deep, "/proxy/1", 8);
    assert_string_equal(found("GET", deep), "/proxy/:port/*rest");
}

static int teardown(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_methods_and_allow),
        cmocka_unit_test(test_E02_nothing_is_normalised),
        cmocka_unit_test(test_D57_bad_paths),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, teardown);
}
