#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/sql/result.h"
#include "proto/json/jfield.h"

static json_t *value(const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    return json;
}

static int columns(struct sql_result *r, const char *text)
{
    cleanup_json json_t *json = value(text);
    return sql_result_columns(r, json);
}

static int row(struct sql_result *r, const char *text)
{
    cleanup_json json_t *json = value(text);
    return sql_result_row(r, json);
}

static void assert_event(char *event, size_t len, const char *text, const char *typed)
{
    cleanup_free char *owned = event;
    assert_non_null(event);
    assert_int_equal(len, strlen(event));
    cleanup_json json_t *json = value(event);
    assert_string_equal(json_string_value(json_object_get(json, "text")), text);
    assert_string_equal(json_string_value(json_object_get(json, "text/plain")), text);
    assert_string_equal(json_string_value(json_object_get(json, "application/json")), typed);
}

static void values_are_strings_in_the_text_and_themselves_beside_it(void **state)
{
    (void)state;
    struct sql_result r;
    size_t len = 0;
    sql_result_init(&r);
    assert_int_equal(columns(&r, "[\"a\",\"\\\"\"]"), 0);
    assert_int_equal(row(&r, "[1,null]"), 0);
    assert_int_equal(row(&r, "[2.5,\"x\\ny\"]"), 0);
    char *event = sql_result_end(&r, false, &len);
    assert_event(event, len,
                 "{\"columns\":[\"a\",\"\\\"\"],\"rows\":[[\"1\",null],[\"2.5\",\"x\\ny\"]]}",
                 "{\"columns\":[\"a\",\"\\\"\"],\"rows\":[[1,null],[2.5,\"x\\ny\"]]}");
    assert_int_equal(columns(&r, "[\"b\"]"), 0);
    event = sql_result_end(&r, true, &len);
    assert_event(event, len, "{\"columns\":[\"b\"],\"truncated\":true}",
                 "{\"columns\":[\"b\"],\"truncated\":true}");
    event = sql_result_affected(3, &len);
    assert_event(event, len, "{\"columns\":[\"affected_rows\"],\"rows\":[[3]]}",
                 "{\"columns\":[\"affected_rows\"],\"rows\":[[3]]}");
    sql_result_done(&r);
}

static void what_comes_at_the_wrong_time_or_in_the_wrong_shape(void **state)
{
    (void)state;
    struct sql_result r;
    size_t len = 0;
    sql_result_init(&r);
    assert_int_equal(row(&r, "[1]"), -EPROTO);
    assert_null(sql_result_end(&r, false, &len));
    assert_int_equal(columns(&r, "{}"), -EPROTO);
    assert_int_equal(columns(&r, "[1]"), -EPROTO);
    assert_int_equal(columns(&r, "[\"a\"]"), 0);
    assert_int_equal(columns(&r, "[\"a\"]"), -EPROTO);
    assert_int_equal(row(&r, "1"), -EPROTO);
    assert_int_equal(row(&r, "[[1]]"), -EPROTO);
    assert_int_equal(row(&r, "[{}]"), -EPROTO);
    sql_result_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_strings_in_the_text_and_themselves_beside_it),
        cmocka_unit_test(what_comes_at_the_wrong_time_or_in_the_wrong_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
