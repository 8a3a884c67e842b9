#include "proto/json/jfield.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/options.h"
#include "proto/base/str.h"
#include "proto/json/json_load.h"

#define STRING_MAX (1024 * 1024)
#define ELEMENTS_MAX 10000
#define PATH_TEXT_MAX 128
#define NAMES_MAX 64 /* keys considered for a suggestion */

/* Where decoding is in the document, for error texts. */
struct place {
    const struct place *parent;
    const char *key;
    size_t index; /* when key is NULL */
};

struct decoder {
    struct arena *arena;
    int err_code;
    struct err *err;
};

static size_t render(const struct place *at, char *buf, size_t size)
{
    size_t n = at->parent != NULL ? render(at->parent, buf, size) : 0;

    if (n >= size)
        return n;
    int added = at->key != NULL ? snprintf(buf + n, size - n, "%s%s", n > 0 ? "." : "", at->key)
                                : snprintf(buf + n, size - n, "[%zu]", at->index);
    return added > 0 ? n + (size_t)added : n;
}

static int bad(const struct decoder *d, const struct place *at, const char *what)
{
    char path[PATH_TEXT_MAX] = "";

    (void)render(at, path, sizeof(path));
    return err_set(d->err, d->err_code, EINVAL, "%s: %s", path, what);
}

static int no_memory(const struct decoder *d)
{
    return err_set(d->err, 0, ENOMEM, "no memory to decode the body");
}

/* Limits of a row, or those of its kind. */
static void limits(const struct jfield *f, int64_t lo, int64_t hi, int64_t *ret_lo, int64_t *ret_hi)
{
    bool own = f->min != 0 || f->max != 0;

    *ret_lo = own ? f->min : lo;
    *ret_hi = own ? f->max : hi;
}

static int copy_string(const struct decoder *d, const json_t *value, const struct place *at,
                       size_t max, const char **ret)
{
    if (!json_is_string(value))
        return bad(d, at, "expected a string");
    size_t len = json_string_length(value);
    if (len > max)
        return bad(d, at, "the string is too long");
    const char *copy = arena_strndup(d->arena, json_string_value(value), len);
    if (copy == NULL)
        return no_memory(d);
    *ret = copy;
    return 0;
}

static int decode_string(const struct decoder *d, const struct jfield *f, const json_t *value,
                         const struct place *at, const char **ret)
{
    int64_t lo, hi;

    limits(f, 0, STRING_MAX, &lo, &hi);
    int rc = copy_string(d, value, at, (size_t)hi, ret);
    if (rc == 0 && (int64_t)json_string_length(value) < lo)
        return bad(d, at, lo == 1 ? "must not be empty" : "the string is too short");
    return rc;
}

static int decode_integer(const struct decoder *d, const struct jfield *f, const json_t *value,
                          const struct place *at, int64_t *ret)
{
    char text[96];
    int64_t lo, hi;

    limits(f, f->kind == JFIELD_U32 ? 0 : INT64_MIN, f->kind == JFIELD_U32 ? UINT32_MAX : INT64_MAX,
           &lo, &hi);
    if (!json_is_integer(value))
        return bad(d, at, "expected an integer");
    int64_t n = json_integer_value(value);
    if (n < lo || n > hi) {
        snprintf(text, sizeof(text), "%lld is outside %lld..%lld", (long long)n, (long long)lo,
                 (long long)hi);
        return bad(d, at, text);
    }
    *ret = n;
    return 0;
}

static int check_count(const struct decoder *d, const struct jfield *f, size_t n,
                       const struct place *at)
{
    char text[64];
    int64_t lo, hi;

    limits(f, 0, ELEMENTS_MAX, &lo, &hi);
    if ((int64_t)n >= lo && (int64_t)n <= hi)
        return 0;
    snprintf(text, sizeof(text), "%zu elements; %lld..%lld are allowed", n, (long long)lo,
             (long long)hi);
    return bad(d, at, text);
}

static int decode_strings(const struct decoder *d, const struct jfield *f, const json_t *value,
                          const struct place *at, struct jstrings *ret)
{
    if (!json_is_array(value))
        return bad(d, at, "expected an array of strings");
    size_t n = json_array_size(value);
    int rc = check_count(d, f, n, at);
    if (rc < 0)
        return rc;
    const char **items = arena_alloc(d->arena, (n + 1) * sizeof(*items));
    if (items == NULL)
        return no_memory(d);
    for (size_t i = 0; i < n; i++) {
        struct place element = {.parent = at, .index = i};
        rc = copy_string(d, json_array_get(value, i), &element, STRING_MAX, &items[i]);
        if (rc < 0)
            return rc;
    }
    *ret = (struct jstrings){.items = items, .n = n};
    return 0;
}

static int decode_map(const struct decoder *d, const struct jfield *f, json_t *value,
                      const struct place *at, struct jmap *ret)
{
    const char *key;
    json_t *item;

    if (!json_is_object(value))
        return bad(d, at, "expected an object of strings");
    size_t n = json_object_size(value);
    int rc = check_count(d, f, n, at);
    if (rc < 0)
        return rc;
    struct jmap map = {.items = arena_alloc(d->arena, (n + 1) * sizeof(struct jpair))};
    if (map.items == NULL)
        return no_memory(d);
    json_object_foreach(value, key, item)
    {
        struct place entry = {.parent = at, .key = key};
        if (json_is_null(item))
            continue;
        struct jpair *pair = &map.items[map.n];
        rc = copy_string(d, item, &entry, STRING_MAX, &pair->value);
        if (rc < 0)
            return rc;
        pair->key = arena_strndup(d->arena, key, strlen(key));
        if (pair->key == NULL)
            return no_memory(d);
        map.n++;
    }
    *ret = map;
    return 0;
}

static int decode_object(const struct decoder *d, const struct jfield *fields, size_t n_fields,
                         json_t *object, const struct place *at, void *target);

static int decode_objects(const struct decoder *d, const struct jfield *f, json_t *value,
                          const struct place *at, struct jobjects *ret)
{
    size_t bytes;

    if (!json_is_array(value))
        return bad(d, at, "expected an array of objects");
    size_t n = json_array_size(value);
    int rc = check_count(d, f, n, at);
    if (rc < 0)
        return rc;
    if (__builtin_mul_overflow(n + 1, f->sub_size, &bytes))
        return no_memory(d);
    char *items = arena_alloc(d->arena, bytes);
    if (items == NULL)
        return no_memory(d);
    for (size_t i = 0; i < n; i++) {
        struct place element = {.parent = at, .index = i};
        rc = decode_object(d, f->sub, f->n_sub, json_array_get(value, i), &element,
                           items + i * f->sub_size);
        if (rc < 0)
            return rc;
    }
    *ret = (struct jobjects){.items = items, .n = n};
    return 0;
}

static int decode_value(const struct decoder *d, const struct jfield *f, json_t *value,
                        const struct place *at, void *slot)
{
    int64_t n = 0;
    int rc = 0;

    switch (f->kind) {
    case JFIELD_STRING:
        return decode_string(d, f, value, at, slot);
    case JFIELD_BOOL:
        if (!json_is_boolean(value))
            return bad(d, at, "expected true or false");
        *(bool *)slot = json_is_true(value);
        return 0;
    case JFIELD_I64:
        return decode_integer(d, f, value, at, slot);
    case JFIELD_U32:
        rc = decode_integer(d, f, value, at, &n);
        if (rc == 0)
            *(uint32_t *)slot = (uint32_t)n;
        return rc;
    case JFIELD_DOUBLE:
        if (!json_is_number(value))
            return bad(d, at, "expected a number");
        *(double *)slot = json_number_value(value);
        return 0;
    case JFIELD_STRINGS:
        return decode_strings(d, f, value, at, slot);
    case JFIELD_MAP:
        return decode_map(d, f, value, at, slot);
    case JFIELD_OBJECT:
        return decode_object(d, f->sub, f->n_sub, value, at, slot);
    case JFIELD_OBJECTS:
        return decode_objects(d, f, value, at, slot);
    case JFIELD_RAW:
        *(json_t **)slot = value;
        return 0;
    }
    return bad(d, at, "unknown field kind");
}

static bool is_known(const struct jfield *fields, size_t n_fields, const char *key)
{
    for (size_t i = 0; i < n_fields; i++)
        if (strcmp(fields[i].name, key) == 0 ||
            (fields[i].alias != NULL && strcmp(fields[i].alias, key) == 0))
            return true;
    return false;
}

static int refuse_unknown(const struct decoder *d, const struct jfield *fields, size_t n_fields,
                          json_t *object, const struct place *at)
{
    const char *names[NAMES_MAX], *key;
    size_t n = MIN(n_fields, (size_t)NAMES_MAX);
    char text[96];
    json_t *value;

    json_object_foreach(object, key, value)
    {
        if (is_known(fields, n_fields, key))
            continue;
        struct place here = {.parent = at, .key = key};
        for (size_t i = 0; i < n; i++)
            names[i] = fields[i].name;
        const char *near = options_nearest(key, names, n);
        if (near == NULL)
            return bad(d, &here, "is not a known key");
        snprintf(text, sizeof(text), "is not a known key (did you mean '%.48s'?)", near);
        return bad(d, &here, text);
    }
    return 0;
}

static int decode_object(const struct decoder *d, const struct jfield *fields, size_t n_fields,
                         json_t *object, const struct place *at, void *target)
{
    if (!json_is_object(object))
        return at != NULL ? bad(d, at, "expected an object")
                          : err_set(d->err, d->err_code, EINVAL, "expected a JSON object");
    if (n_fields > 0 && (fields[0].flags & JFIELD_STRICT) != 0) {
        int rc = refuse_unknown(d, fields, n_fields, object, at);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < n_fields; i++) {
        const struct jfield *f = &fields[i];
        struct place here = {.parent = at, .key = f->name};
        json_t *value = json_object_get(object, f->name);
        if (value == NULL && f->alias != NULL)
            value = json_object_get(object, f->alias);
        if (value == NULL || json_is_null(value)) {
            if ((f->flags & JFIELD_REQUIRED) != 0)
                return bad(d, &here, "is required");
            continue;
        }
        int rc = decode_value(d, f, value, &here, (char *)target + f->offset);
        if (rc < 0)
            return rc;
        if (f->has_offset != 0)
            *(bool *)((char *)target + f->has_offset) = true;
    }
    return 0;
}

/* Decoding starts from zero without knowing the struct's size: what no row names stays as it is. */
static void clear_fields(const struct jfield *fields, size_t n_fields, void *target)
{
    static const size_t sizes[] = {
        [JFIELD_STRING] = sizeof(char *),   [JFIELD_BOOL] = sizeof(bool),
        [JFIELD_I64] = sizeof(int64_t),     [JFIELD_U32] = sizeof(uint32_t),
        [JFIELD_DOUBLE] = sizeof(double),   [JFIELD_STRINGS] = sizeof(struct jstrings),
        [JFIELD_MAP] = sizeof(struct jmap), [JFIELD_OBJECTS] = sizeof(struct jobjects),
        [JFIELD_RAW] = sizeof(json_t *),
    };
    for (size_t i = 0; i < n_fields; i++) {
        char *slot = (char *)target + fields[i].offset;
        if (fields[i].kind == JFIELD_OBJECT)
            clear_fields(fields[i].sub, fields[i].n_sub, slot);
        else
            memset(slot, 0, sizes[fields[i].kind]);
        if (fields[i].has_offset != 0)
            *(bool *)((char *)target + fields[i].has_offset) = false;
    }
}

int jfield_decode(const struct jfield *fields, size_t n_fields, json_t *object, void *target,
                  struct arena *arena, int err_code, struct err *err)
{
    struct decoder d = {.arena = arena, .err_code = err_code, .err = err};

    clear_fields(fields, n_fields, target);
    return decode_object(&d, fields, n_fields, object, NULL, target);
}

/* jansson would go 2,048 deep. Brackets inside strings do not count. */
static bool too_deep(const char *text, size_t len)
{
    bool in_string = false;
    int depth = 0;

    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                in_string = false;
        } else if (text[i] == '"') {
            in_string = true;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return true;
        } else if (text[i] == '}' || text[i] == ']') {
            depth--;
        }
    }
    return false;
}

static int tell_flaw(const char *text, const struct json_flaw *flaw, int err_code, struct err *err)
{
    unsigned line = 1, column = 1;

    for (const char *p = text; p < flaw->at; p++) {
        column = *p == '\n' ? 1 : column + 1;
        line += *p == '\n';
    }
    return err_set(err, err_code, EINVAL, "not valid JSON at line %u column %u: %s", line, column,
                   flaw->what);
}

int json_parse(const char *text, size_t len, json_t **ret_json, int err_code, struct err *err)
{
    struct json_flaw flaw;

    if (len == 0)
        return err_set(err, err_code, EINVAL, "the body is empty, a JSON value is expected");
    if (too_deep(text, len))
        return err_set(err, err_code, EINVAL, "the JSON is nested deeper than %d levels",
                       JSON_DEPTH_MAX);
    json_t *json = json_load((struct slice){text, len}, &flaw);
    if (json == NULL && flaw.what == NULL)
        return err_set(err, 0, ENOMEM, "no memory for the JSON");
    if (json == NULL)
        return tell_flaw(text, &flaw, err_code, err);
    *ret_json = json;
    return 0;
}

int jfield_decode_text(const struct jfield *fields, size_t n_fields, const char *text, size_t len,
                       bool allow_empty, void *target, struct arena *arena, int err_code,
                       json_t **ret_doc, struct err *err)
{
    cleanup_json json_t *doc = NULL;
    int rc = 0;

    if (len == 0 && allow_empty)
        doc = json_object();
    else
        rc = json_parse(text, len, &doc, err_code, err);
    if (rc == 0)
        rc = jfield_decode(fields, n_fields, doc, target, arena, err_code, err);
    if (rc == 0 && ret_doc != NULL)
        *ret_doc = take_ptr(&doc);
    return rc;
}
