#include "proto/json/jfield.h"

#include <math.h>
#include <string.h>

#include "proto/base/str.h"

/* Memory is exhausted (appending NULL to NULL fails too, so one check at the append is enough). */
static json_t *drop(json_t *json)
{
    json_decref(json);
    return NULL;
}

/* A text of unknown origin: what is not UTF-8 is repaired, for jansson would refuse it. */
static json_t *encode_text(const char *text)
{
    struct strbuf fixed;

    if (text == NULL)
        return json_null();
    size_t len = strlen(text);
    if (utf8_is_valid(text, len))
        return json_stringn_nocheck(text, len);
    strbuf_init(&fixed, 3 * len);
    for (size_t at = 0; at < len;) {
        int n = utf8_sequence(text + at, len - at);
        strbuf_add(&fixed, n > 0 ? text + at : "\xef\xbf\xbd", n > 0 ? (size_t)n : 3);
        at += n > 0 ? (size_t)n : 1;
    }
    json_t *json = strbuf_check(&fixed) == 0 ? json_stringn_nocheck(fixed.data, fixed.len) : NULL;
    strbuf_done(&fixed);
    return json;
}

/* JSON has no word for infinities and NaN. */
static json_t *encode_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *encode_strings(const struct jstrings *s)
{
    json_t *array = json_array();

    for (size_t i = 0; i < s->n; i++)
        if (json_array_append_new(array, encode_text(s->items[i])) < 0)
            return drop(array);
    return array;
}

static json_t *encode_map(const struct jmap *m)
{
    json_t *object = json_object();

    for (size_t i = 0; i < m->n; i++) {
        cleanup_json json_t *key = encode_text(m->items[i].key);
        if (key == NULL || json_object_set_new_nocheck(object, json_string_value(key),
                                                       encode_text(m->items[i].value)) < 0)
            return drop(object);
    }
    return object;
}

static json_t *encode_objects(const struct jfield *f, const struct jobjects *o)
{
    json_t *array = json_array();

    for (size_t i = 0; i < o->n; i++) {
        const char *item = (const char *)o->items + i * f->sub_size;
        if (json_array_append_new(array, jfield_encode(f->sub, f->n_sub, item)) < 0)
            return drop(array);
    }
    return array;
}

static json_t *encode_value(const struct jfield *f, const void *slot)
{
    switch (f->kind) {
    case JFIELD_STRING:
        return encode_text(*(const char *const *)slot);
    case JFIELD_BOOL:
        return json_boolean(*(const bool *)slot);
    case JFIELD_I64:
        return json_integer(*(const int64_t *)slot);
    case JFIELD_U32:
        return json_integer(*(const uint32_t *)slot);
    case JFIELD_DOUBLE:
        return encode_real(*(const double *)slot);
    case JFIELD_STRINGS:
        return encode_strings(slot);
    case JFIELD_MAP:
        return encode_map(slot);
    case JFIELD_OBJECT:
        return jfield_encode(f->sub, f->n_sub, slot);
    case JFIELD_OBJECTS:
        return encode_objects(f, slot);
    case JFIELD_RAW:
        return *(json_t *const *)slot != NULL ? json_incref(*(json_t *const *)slot) : json_null();
    }
    return json_null();
}

static bool is_empty(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    case JSON_STRING:
        return json_string_length(value) == 0;
    case JSON_INTEGER:
        return json_integer_value(value) == 0;
    case JSON_REAL:
        return json_real_value(value) == 0;
    case JSON_ARRAY:
        return json_array_size(value) == 0;
    case JSON_OBJECT:
        return json_object_size(value) == 0;
    default:
        return false;
    }
}

json_t *jfield_encode(const struct jfield *fields, size_t n_fields, const void *source)
{
    json_t *object = json_object();

    for (size_t i = 0; object != NULL && i < n_fields; i++) {
        const struct jfield *f = &fields[i];
        json_t *value = encode_value(f, (const char *)source + f->offset);
        bool unset = f->has_offset != 0 && !*(const bool *)((const char *)source + f->has_offset);
        bool omit = (f->flags & JFIELD_OMIT_EMPTY) != 0 && value != NULL &&
                    (f->has_offset != 0 ? unset : is_empty(value));
        if (omit)
            json_decref(value);
        else if (json_object_set_new(object, f->name, value) < 0)
            return drop(object);
    }
    return object;
}
