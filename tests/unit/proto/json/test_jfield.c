/* Tables between JSON and structs: what is taken, what is refused and in which words, and the way back. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/str.h"
#include "proto/json/jfield.h"

#define CODE 42

struct point {
    int64_t x;
    bool has_x;
};

struct sample {
    const char *name;
    bool flag;
    int64_t count;
    bool has_count;
    uint32_t uid;
    double ratio;
    struct jstrings args;
    struct jmap envs;
    struct point at;
    struct jobjects points;
    json_t *raw;
};

static const struct jfield point_fields[] = {
    JFIELD(struct point, x, JFIELD_I64, .has_offset = offsetof(struct point, has_x),
           .flags = JFIELD_REQUIRED),
};

static const struct jfield fields[] = {
    JFIELD(struct sample, name, JFIELD_STRING, .flags = JFIELD_REQUIRED, .min = 1, .max = 8),
    JFIELD(struct sample, flag, JFIELD_BOOL, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct sample, count, JFIELD_I64, .alias = "theCount", .min = -5, .max = 10000,
           .has_offset = offsetof(struct sample, has_count), .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct sample, uid, JFIELD_U32, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct sample, ratio, JFIELD_DOUBLE, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct sample, args, JFIELD_STRINGS, .min = 0, .max = 3, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct sample, envs, JFIELD_MAP, .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct sample, at, JFIELD_OBJECT, .sub = point_fields, .n_sub = ARRAY_LEN(point_fields)),
    JFIELD(struct sample, points, JFIELD_OBJECTS, .sub = point_fields,
           .n_sub = ARRAY_LEN(point_fields), .sub_size = sizeof(struct point),
           .flags = JFIELD_OMIT_EMPTY),
    JFIELD(struct sample, raw, JFIELD_RAW, .flags = JFIELD_OMIT_EMPTY),
};

static const struct jfield strict_fields[] = {
    JFIELD(struct sample, name, JFIELD_STRING, .flags = JFIELD_STRICT),
    JFIELD(struct sample, count, JFIELD_I64, .alias = "theCount"),
};

static int decode(const char *text, struct sample *s, struct arena *arena, json_t **doc,
                  struct err *err)
{
    memset(s, 0xa5, sizeof(*s)); /* what is not in the text must read as zero all the same */
    *err = (struct err){0};
    return jfield_decode_text(fields, ARRAY_LEN(fields), text, strlen(text), false, s, arena, CODE,
                              doc, err);
}

static void test_decodes_every_kind(void **state)
{
    (void)state;
    struct arena arena = {0};
    cleanup_json json_t *doc = NULL;
    struct sample s;
    struct err err;
    int r = decode(
        "{\"name\":\"n\\u00e4\",\"flag\":true,\"theCount\":5000,\"uid\":4294967295,\"ratio\":2,"
        "\"args\":[\"a\",\"\"],\"envs\":{\"A\":\"1\",\"B\":null,\"C\":\"\"},\"at\":{\"x\":-0},"
        "\"points\":[{\"x\":1},{\"x\":2}],\"raw\":[1,{}],\"unknown\":1}",
        &s, &arena, &doc, &err);

    assert_int_equal(r, 0);
    assert_string_equal(s.name, "n\xc3\xa4");
    assert_true(s.flag && s.count == 5000 && s.has_count && s.uid == UINT32_MAX);
    assert_true(s.ratio > 1.99 && s.ratio < 2.01);
    assert_int_equal(s.args.n, 2);
    assert_string_equal(s.args.items[0], "a");
    assert_string_equal(s.args.items[1], "");
    assert_null(s.args.items[2]);  /* serves as an argv */
    assert_int_equal(s.envs.n, 2); /* null is absent */
    assert_string_equal(s.envs.items[1].key, "C");
    assert_true(s.at.x == 0 && s.at.has_x);
    assert_int_equal(s.points.n, 2);
    assert_true(((struct point *)s.points.items)[1].x == 2);
    assert_int_equal(json_array_size(s.raw), 2);
    arena_done(&arena);
}

static void test_absent_and_null_are_zero(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"name\":\"n\"}",
        "{\"name\":\"n\",\"flag\":null,\"count\":null,\"args\":null,\"envs\":null,"
        "\"at\":null,\"points\":null,\"raw\":null,\"uid\":null,\"ratio\":null}"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct arena arena = {0};
        struct sample s;
        struct err err;
        assert_int_equal(decode(texts[i], &s, &arena, NULL, &err), 0);
        assert_true(!s.flag && s.count == 0 && !s.has_count && s.uid == 0 && s.args.n == 0 &&
                    s.envs.n == 0);
        assert_true(s.points.n == 0 && s.raw == NULL && !s.at.has_x);
        arena_done(&arena);
    }
}

static void test_D62_wrong_types_name_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"{}", "name: is required"},
        {"{\"name\":null}", "name: is required"},
        {"{\"name\":5}", "name: expected a string"},
        {"{\"name\":\"\"}", "name: must not be empty"},
        {"{\"name\":\"123456789\"}", "name: the string is too long"},
        {"{\"name\":\"n\",\"flag\":1}", "flag: expected true or false"},
        {"{\"name\":\"n\",\"flag\":\"true\"}", "flag:"},
        {"{\"name\":\"n\",\"count\":5000.0}", "count: expected an integer"},
        {"{\"name\":\"n\",\"count\":1e3}", "count: expected an integer"},
        {"{\"name\":\"n\",\"count\":\"5000\"}", "count: expected an integer"},
        {"{\"name\":\"n\",\"count\":10001}", "count: 10001 is outside -5..10000"},
        {"{\"name\":\"n\",\"count\":-6}", "count: -6 is outside"},
        {"{\"name\":\"n\",\"count\":9223372036854775808}", "too big"},
        {"{\"name\":\"n\",\"uid\":-1}", "uid: -1 is outside"},
        {"{\"name\":\"n\",\"uid\":4294967296}", "uid: 4294967296 is outside"},
        {"{\"name\":\"n\",\"ratio\":\"2\"}", "ratio: expected a number"},
        {"{\"name\":\"n\",\"args\":\"a\"}", "args: expected an array"},
        {"{\"name\":\"n\",\"args\":[\"a\",5]}", "args[1]: expected a string"},
        {"{\"name\":\"n\",\"args\":[null]}", "args[0]: expected a string"},
        {"{\"name\":\"n\",\"args\":[\"\",\"\",\"\",\"\"]}", "args: 4 elements"},
        {"{\"name\":\"n\",\"envs\":[]}", "envs: expected an object"},
        {"{\"name\":\"n\",\"envs\":{\"PATH\":7}}", "envs.PATH: expected a string"},
        {"{\"name\":\"n\",\"at\":5}", "at: expected an object"},
        {"{\"name\":\"n\",\"at\":{}}", "at.x: is required"},
        {"{\"name\":\"n\",\"points\":[{\"x\":1},{\"x\":true}]}",
         "points[1].x: expected an integer"},
        {"{\"name\":\"n\",\"points\":[5]}", "points[0]: expected an object"},
        {"[]", "expected a JSON object"},
        {"5", "expected a JSON object"},
        {"null", "expected a JSON object"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena = {0};
        json_t *doc = NULL;
        struct sample s;
        struct err err;
        int r = decode(rows[i].text, &s, &arena, &doc, &err);
        if (r != -EINVAL || err.code != CODE || strstr(err.text, rows[i].words) == NULL)
            fail_msg("%s: %d, '%s'", rows[i].text, r, err.text);
        assert_null(doc);
        arena_done(&arena);
    }
}

static int parse(const char *text, size_t len)
{
    json_t *json = NULL;
    struct err err;
    int r = json_parse(text, len, &json, CODE, &err);

    json_decref(json);
    assert_true(r == 0 || (r == -EINVAL && err.code == CODE && err.text[0] != '\0'));
    return r;
}

static void test_D61_documents(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}",   " [1, 2]\n", "\"\\ud83d\\ude00\"",       "-0", "1e300",
        "null", "[]",        "{\"a\":\"]]]]{{{{\\\"[\"}"};
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "[1,]",
                                      "{\"a\":1,\"a\":2}",
                                      "{} x",
                                      "{}{}",
                                      "\xef\xbb\xbf{}",
                                      "\"a\\u0000b\"",
                                      "{\"\\u0000\":1}",
                                      "\"\xff\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\\ud800\"",
                                      "1e400",
                                      "NaN",
                                      "Infinity",
                                      "01",
                                      "+1",
                                      "'a'",
                                      "{a:1}",
                                      "[1//\n]",
                                      "\"\n\"",
                                      "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (parse(good[i], strlen(good[i])) != 0)
            fail_msg("%s was refused", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (parse(bad[i], strlen(bad[i])) == 0)
            fail_msg("%s was taken", bad[i]);
    assert_int_equal(parse("{}\0", 3), -EINVAL);
    assert_int_equal(parse("[123\0]", 6), -EINVAL);
    assert_int_equal(parse("123\0", 4), -EINVAL);
    assert_int_equal(parse("{}xyz", 2), 0); /* no byte beyond len is looked at */
}

static void test_D61_depth(void **state)
{
    (void)state;
    static char text[200001];

    for (int depth = 63; depth <= 66; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(parse(text, 2 * (size_t)depth), depth <= JSON_DEPTH_MAX ? 0 : -EINVAL);
    }
    memset(text, '[', 100000);
    memset(text + 100000, ']', 100000);
    assert_int_equal(parse(text, 200000), -EINVAL);
}

static void test_strict_tables_suggest(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct sample s;
    struct err err = {0};
    static const char good[] = "{\"name\":\"n\",\"theCount\":5}";
    static const char near[] = "{\"nmae\":\"n\"}";
    static const char far[] = "{\"something-else\":\"n\"}";

    assert_int_equal(jfield_decode_text(strict_fields, 2, good, strlen(good), false, &s, &arena,
                                        CODE, NULL, &err),
                     0);
    assert_int_equal(jfield_decode_text(strict_fields, 2, near, strlen(near), false, &s, &arena,
                                        CODE, NULL, &err),
                     -EINVAL);
    assert_string_equal(err.text, "nmae: is not a known key (did you mean 'name'?)");
    assert_int_equal(
        jfield_decode_text(strict_fields, 2, far, strlen(far), false, &s, &arena, CODE, NULL, &err),
        -EINVAL);
    assert_string_equal(err.text, "something-else: is not a known key");
    arena_done(&arena);
}

static void test_empty_bodies(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct sample s;
    struct err err = {0};

    assert_int_equal(
        jfield_decode_text(strict_fields, 2, "", 0, true, &s, &arena, CODE, NULL, &err), 0);
    assert_null(s.name);
    assert_int_equal(
        jfield_decode_text(strict_fields, 2, "", 0, false, &s, &arena, CODE, NULL, &err), -EINVAL);
    assert_int_equal(
        jfield_decode_text(fields, ARRAY_LEN(fields), "", 0, true, &s, &arena, CODE, NULL, &err),
        -EINVAL);
    assert_non_null(strstr(err.text, "name"));
    arena_done(&arena);
}

static void expect_encoded(const struct sample *s, const char *expected)
{
    cleanup_json json_t *json = jfield_encode(fields, ARRAY_LEN(fields), s);
    size_t len = 0;

    assert_non_null(json);
    char *text = json_compact(json, &len);
    assert_string_equal(text, expected);
    assert_int_equal(len, strlen(expected));
    free(text);
}

static void test_encode_in_table_order(void **state)
{
    (void)state;
    struct point points[] = {{.x = 1}, {.x = -2}};
    const char *args[] = {"a", "b/c", NULL};
    struct jpair pairs[] = {{"K", "v"}, {"Z", NULL}};
    cleanup_json json_t *raw = json_true();
    struct sample s = {.name = "n", .at = {.x = 3}};

    expect_encoded(&s, "{\"name\":\"n\",\"at\":{\"x\":3}}");
    s = (struct sample){.flag = true,
                        .has_count = true,
                        .uid = 7,
                        .ratio = 0.1,
                        .args = {args, 2},
                        .envs = {pairs, 2},
                        .points = {points, 2},
                        .raw = raw};
    expect_encoded(
        &s,
        "{\"name\":null,\"flag\":true,\"count\":0,\"uid\":7,\"ratio\":0.1,\"args\":[\"a\",\"b/c\"],"
        "\"envs\":{\"K\":\"v\",\"Z\":null},\"at\":{\"x\":0},\"points\":[{\"x\":1},{\"x\":-2}],"
        "\"raw\":true}");
}

static void test_encode_repairs_text_and_numbers(void **state)
{
    (void)state;
    const char *args[] = {"a\xff", "\xe2\x82", NULL};
    struct jpair pairs[] = {{"k\x80", "v\xff"}};
    struct sample s = {.name = "\xc3", .args = {args, 2}, .envs = {pairs, 1}, .ratio = NAN};

    expect_encoded(
        &s, "{\"name\":\"\xef\xbf\xbd\",\"args\":[\"a\xef\xbf\xbd\",\"\xef\xbf\xbd\xef\xbf\xbd\"],"
            "\"envs\":{\"k\xef\xbf\xbd\":\"v\xef\xbf\xbd\"},\"at\":{\"x\":0}}");
}

static void expect_compact(const char *in, const char *expected)
{
    struct err err = {0};
    json_t *json = NULL;
    size_t len = 0;

    if (json_parse(in, strlen(in), &json, CODE, &err) != 0)
        fail_msg("%s: %s", in, err.text);
    char *text = json_compact(json, &len);
    assert_string_equal(text, expected);
    assert_int_equal(len, strlen(text));
    free(text);
    json_decref(json);
}

static void test_compact(void **state)
{
    (void)state;
    static const char *const same[] = {"{}",
                                       "[]",
                                       "\"\"",
                                       "null",
                                       "true",
                                       "false",
                                       "-5",
                                       "9223372036854775807",
                                       "0.1",
                                       "0.30000000000000004",
                                       "1700000000.123456",
                                       "1e+300",
                                       "1.7976931348623157e+308",
                                       "2.0",
                                       "-0.0",
                                       "\"/\"",
                                       "\"\xc3\xa9\xf0\x9f\x98\x80\"",
                                       "{\"b\":1,\"a\":[{},[],\"x\"]}",
                                       "\"\\u0085\\u2028\\u2029\\u0001\\n\""};
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        expect_compact(same[i], same[i]);
    expect_compact(" { \"a\" : [ 1 , 2.50 ] } ", "{\"a\":[1,2.5]}");
    expect_compact("\"\xc2\x85\xe2\x80\xa8\xe2\x80\xa9\"", "\"\\u0085\\u2028\\u2029\"");
    expect_compact("{\"\xe2\x80\xa8\":1}", "{\"\\u2028\":1}");
    expect_compact("\"\\/\"", "\"/\"");
}

static void test_reals_survive_the_way_out_and_back(void **state)
{
    (void)state;
    uint64_t bits = 88172645463325252u;

    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13; /* xorshift: all kinds of exponents */
        bits ^= bits >> 7;
        bits ^= bits << 17;
        double value, back;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        cleanup_json json_t *json = json_real(value);
        size_t len;
        char *text = json_compact(json, &len);
        json_t *again = json_loads(text, JSON_DECODE_ANY, NULL);
        assert_true(json_is_real(again));
        back = json_real_value(again);
        assert_memory_equal(&back, &value, sizeof(back));
        json_decref(again);
        free(text);
    }
}

static void test_compact_refuses_endless_depth(void **state)
{
    (void)state;
    json_t *inner = json_array();
    size_t len;

    for (int i = 0; i < 1000; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, inner);
        inner = outer;
    }
    assert_null(json_compact(inner, &len));
    json_decref(inner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes_every_kind),
        cmocka_unit_test(test_absent_and_null_are_zero),
        cmocka_unit_test(test_D62_wrong_types_name_the_place),
        cmocka_unit_test(test_D61_documents),
        cmocka_unit_test(test_D61_depth),
        cmocka_unit_test(test_strict_tables_suggest),
        cmocka_unit_test(test_empty_bodies),
        cmocka_unit_test(test_encode_in_table_order),
        cmocka_unit_test(test_encode_repairs_text_and_numbers),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_reals_survive_the_way_out_and_back),
        cmocka_unit_test(test_compact_refuses_endless_depth),
    };
    return cmocka_run_group_tests_name("jfield", tests, NULL, NULL);
}
