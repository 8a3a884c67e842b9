/* JSON: what is taken can be decoded without harm, and its compact text reads back as the same value. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/jfield.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct inner {
    int64_t n;
};

struct outer {
    const char *text;
    bool flag;
    int64_t count;
    bool has_count;
    uint32_t uid;
    double ratio;
    struct jstrings list;
    struct jmap map;
    struct inner object;
    struct jobjects objects;
    json_t *raw;
};

static const struct jfield inner_fields[] = {JFIELD(struct inner, n, JFIELD_I64)};

static const struct jfield outer_fields[] = {
    JFIELD(struct outer, text, JFIELD_STRING, .alias = "t", .max = 64),
    JFIELD(struct outer, flag, JFIELD_BOOL),
    JFIELD(struct outer, count, JFIELD_I64, .has_offset = offsetof(struct outer, has_count),
           .max = 1000),
    JFIELD(struct outer, uid, JFIELD_U32),
    JFIELD(struct outer, ratio, JFIELD_DOUBLE),
    JFIELD(struct outer, list, JFIELD_STRINGS, .max = 4),
    JFIELD(struct outer, map, JFIELD_MAP, .max = 4),
    JFIELD(struct outer, object, JFIELD_OBJECT, .sub = inner_fields,
           .n_sub = ARRAY_LEN(inner_fields)),
    JFIELD(struct outer, objects, JFIELD_OBJECTS, .sub = inner_fields,
           .n_sub = ARRAY_LEN(inner_fields), .sub_size = sizeof(struct inner)),
    JFIELD(struct outer, raw, JFIELD_RAW),
};

static void check_struct(const struct outer *o)
{
    if (o->text != NULL && strlen(o->text) > 64)
        abort();
    if (o->count < 0 || o->count > 1000 || o->list.n > 4 || o->map.n > 4)
        abort();
    for (size_t i = 0; i < o->list.n; i++)
        if (!utf8_is_valid(o->list.items[i], strlen(o->list.items[i])))
            abort();
    json_t *json = jfield_encode(outer_fields, ARRAY_LEN(outer_fields), o);
    if (json == NULL)
        abort();
    json_decref(json);
}

static void check_round_trip(const json_t *json)
{
    json_t *again = NULL;
    size_t len = 0;
    char *text = json_compact(json, &len);

    if (text == NULL || strlen(text) != len || !utf8_is_valid(text, len))
        abort();
    if (strpbrk(text, "\n\r") != NULL || strstr(text, "\xc2\x85") != NULL ||
        strstr(text, "\xe2\x80\xa8") != NULL)
        abort();
    if (json_parse(text, len, &again, 1, NULL) != 0 || !json_equal(json, again))
        abort();
    json_decref(again);
    free(text);
}

/* What is taken is what jansson takes, and the same. */
static void check_oracle(const char *text, size_t size, const json_t *ours, const struct err *err)
{
    if (memchr(text, '\0', size) != NULL || strstr(err->text, "deeper") != NULL)
        return; /* it stops at a zero byte, and goes deeper */
    json_t *its = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if ((its != NULL) != (ours != NULL) || (its != NULL && !json_equal(its, ours)))
        abort();
    json_decref(its);
}

/* Arbitrary bytes become a literal that any parser takes. */
static void check_escape(const char *p, size_t n)
{
    struct strbuf out;

    strbuf_init(&out, 6 * n + 2);
    json_escape(&out, p, n);
    if (strbuf_check(&out) < 0)
        abort();
    json_t *json = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!json_is_string(json))
        abort();
    if (utf8_is_valid(p, n) &&
        (json_string_length(json) != n || (n > 0 && memcmp(json_string_value(json), p, n) != 0)))
        abort();
    json_decref(json);
    strbuf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct arena arena = {0};
    struct outer outer;
    struct err err = {0};
    json_t *json = NULL;

    check_escape(text, size);
    int r = json_parse(text, size, &json, 1, &err);
    check_oracle(text, size, json, &err);
    if (r == 0)
        check_round_trip(json);
    else if (json != NULL || err.code != 1 || err.text[0] == '\0')
        abort();
    if (r == 0 &&
        jfield_decode(outer_fields, ARRAY_LEN(outer_fields), json, &outer, &arena, 1, &err) == 0)
        check_struct(&outer);
    arena_done(&arena);
    json_decref(json);
    return 0;
}
