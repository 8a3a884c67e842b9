#include "execd/code/output.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/jfield.h"

#define TRACEBACK_MAX 1000 /* lines */

/* Length of at most max bytes that does not cut a character. */
static size_t piece_len(const char *p, size_t len, size_t max)
{
    if (len <= max)
        return len;
    size_t n = max;
    while (n > max - 4 && ((unsigned char)p[n] & 0xC0) == 0x80)
        n--;
    return n;
}

bool output_stream(struct channel *ch, const json_t *content, size_t *offset)
{
    const json_t *text = json_object_get(content, "text");
    const char *name = json_string_value(json_object_get(content, "name"));
    if (!json_is_string(text))
        return true;
    size_t len = json_string_length(text) - *offset;
    const char *p = json_string_value(text) + *offset;
    size_t n = piece_len(p, len, OUTPUT_PIECE);
    channel_append(ch, name && strcmp(name, "stderr") == 0 ? EVENT_STDERR : EVENT_STDOUT, p, n);
    *offset += n;
    return n == len;
}

static void append_json(struct channel *ch, enum event_type type, const json_t *json)
{
    size_t len = 0;
    char *text = json_compact(json, &len);
    if (text)
        channel_append(ch, type, text, len);
    free(text);
}

/* A string as it is, anything else as its JSON text. New reference. */
static json_t *stringify(json_t *value)
{
    if (json_is_string(value))
        return json_incref(value);
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    json_t *string = text ? json_string(text) : NULL;
    free(text);
    return string;
}

void output_result(struct channel *ch, const json_t *content, bool with_count)
{
    const json_t *count = json_object_get(content, "execution_count");
    json_t *data = json_object_get(content, "data");
    if (with_count && json_is_integer(count))
        channel_append_number(ch, EVENT_EXECUTION_COUNT, json_integer_value(count));
    if (!json_is_object(data))
        return;
    json_t *results = json_object(), *value;
    const char *mime;
    json_t *plain = json_object_get(data, "text/plain");
    if (plain) {
        (void)json_object_set_new(results, "text",
                                  stringify(plain)); /* without memory the key is missing */
        (void)json_object_set_new(results, "text/plain", stringify(plain));
    }
    json_object_foreach(data, mime, value)
    {
        if (value != plain)
            (void)json_object_set_new(results, mime, stringify(value)); /* as above */
    }
    append_json(ch, EVENT_RESULT, results);
    json_decref(results);
}

void output_payloads(struct channel *ch, const json_t *reply)
{
    size_t i;
    const json_t *item, *payload = json_object_get(reply, "payload");
    json_array_foreach(payload, i, item)
    {
        const char *source = json_string_value(json_object_get(item, "source"));
        if (source && strcmp(source, "page") == 0)
            output_result(ch, item, false);
    }
}

static json_t *text_field(const json_t *content, const char *key, const char *otherwise)
{
    json_t *value = json_object_get(content, key);
    return json_is_string(value) ? json_incref(value) : json_string(otherwise);
}

json_t *output_error_object(const json_t *content)
{
    json_t *error = json_object(), *lines = json_array();
    size_t i;
    json_t *line;
    json_array_foreach(json_object_get(content, "traceback"), i, line)
    {
        if (i < TRACEBACK_MAX)
            (void)json_array_append_new(lines,
                                        stringify(line)); /* without memory the line is missing */
    }
    (void)json_object_set_new(error, "ename", text_field(content, "ename", "Error")); /* as above */
    (void)json_object_set_new(error, "evalue", text_field(content, "evalue", ""));
    (void)json_object_set_new(error, "traceback", lines);
    return error;
}

void output_error(struct channel *ch, const json_t *error)
{
    size_t len = 0;
    char *text = json_compact(error, &len);
    if (text)
        channel_append(ch, EVENT_ERROR, text, len);
    else
        channel_append_error(ch, "Error", "the error is too large to be shown", NULL);
    free(text);
}

void output_error_as_text(struct channel *ch, const json_t *error)
{
    size_t i;
    json_t *line;
    json_array_foreach(json_object_get(error, "traceback"), i, line)
    {
        channel_append(ch, EVENT_STDERR, json_string_value(line), json_string_length(line));
        channel_append(ch, EVENT_STDERR, "\n", 1);
    }
}
