#include "execd/code/output.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/str.h"
#include "proto/json/jfield.h"

#define TRACEBACK_MAX 1000         /* lines */
#define TRACEBACK_BYTES (1u << 20) /* in all */
#define LINE_MAX_BYTES (64u << 10) /* a line of it, and the value of an error */
#define NAME_MAX_BYTES 1024        /* the name of an error, and of a display */
#define CUT_NOTE_MAX 80

struct slice output_text(const json_t *content, enum event_type *ret_type)
{
    const json_t *text = json_object_get(content, "text");
    const char *name = json_string_value(json_object_get(content, "name"));
    *ret_type = name && strcmp(name, "stderr") == 0 ? EVENT_STDERR : EVENT_STDOUT;
    return json_is_string(text) ? (struct slice){json_string_value(text), json_string_length(text)}
                                : (struct slice){0};
}

bool output_stream(struct channel *ch, const json_t *content, size_t *offset)
{
    enum event_type type;
    struct slice text = output_text(content, &type);
    if (text.len == 0)
        return true;
    size_t len = text.len - *offset;
    size_t n = utf8_cut(text.ptr + *offset, len, OUTPUT_PIECE);
    channel_append(ch, type, text.ptr + *offset, n);
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

/* At most max bytes of a string, and what is missing. New reference. */
static json_t *cut(json_t *value, size_t max)
{
    size_t len = json_string_length(value);
    if (len <= max)
        return json_incref(value);
    struct strbuf text;
    strbuf_init(&text, max + CUT_NOTE_MAX);
    strbuf_add(&text, json_string_value(value), utf8_cut(json_string_value(value), len, max));
    strbuf_addf(&text, "\n[execd: cut here, %zu bytes in all]", len);
    json_t *string = strbuf_check(&text) == 0 ? json_stringn_nocheck(text.data, text.len) : NULL;
    strbuf_done(&text);
    return string;
}

/* A string as it is, anything else as its JSON text. New reference. */
static json_t *stringify(json_t *value)
{
    if (json_is_string(value))
        return json_incref(value);
    size_t len = 0;
    char *text = json_compact(value, &len);
    json_t *string = text ? json_stringn_nocheck(text, len) : NULL;
    free(text);
    return string;
}

/* Stands before a result that a later one may replace, or that replaces an earlier one. */
static void show_display(struct channel *ch, const json_t *content, bool update)
{
    json_t *id = json_object_get(json_object_get(content, "transient"), "display_id");
    if (!json_is_string(id) || json_string_length(id) == 0)
        return;
    json_t *display =
        json_pack("{s:o, s:b}", "display_id", cut(id, NAME_MAX_BYTES), "update", update);
    append_json(ch, EVENT_DISPLAY, display);
    json_decref(display);
}

void output_clear(struct channel *ch, const json_t *content)
{
    json_t *clear = json_pack("{s:b}", "wait", json_is_true(json_object_get(content, "wait")));
    append_json(ch, EVENT_CLEAR_OUTPUT, clear);
    json_decref(clear);
}

void output_result(struct channel *ch, const json_t *content, enum output_kind kind)
{
    const json_t *count = json_object_get(content, "execution_count");
    json_t *data = json_object_get(content, "data");
    if (kind == OUTPUT_RESULT && json_is_integer(count))
        channel_append_number(ch, EVENT_EXECUTION_COUNT, json_integer_value(count));
    if (!json_is_object(data))
        return;
    show_display(ch, content, kind == OUTPUT_UPDATE);
    json_t *results = json_object(), *value;
    const char *mime;
    json_t *plain = json_object_get(data, "text/plain");
    if (plain) {
        json_t *string = stringify(plain), *text = cut(string, OUTPUT_TEXT_MAX);
        (void)json_object_set(results, "text", text); /* without memory the key is missing */
        (void)json_object_set_new(results, "text/plain", text);
        json_decref(string);
    }
    json_object_foreach(data, mime, value)
    {
        if (value != plain && strcmp(mime, "text") != 0)                /* which is ours */
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
            output_result(ch, item, OUTPUT_DISPLAY);
    }
}

static json_t *text_field(const json_t *content, const char *key, const char *otherwise, size_t max)
{
    json_t *value = json_object_get(content, key);
    return json_is_string(value) ? cut(value, max) : json_string(otherwise);
}

/* Without memory, lines are missing. */
static json_t *traceback_of(const json_t *content)
{
    json_t *lines = json_array(), *line;
    size_t i, bytes = 0;
    json_array_foreach(json_object_get(content, "traceback"), i, line)
    {
        json_t *string = stringify(line), *text = cut(string, LINE_MAX_BYTES);
        bool fits = i < TRACEBACK_MAX && bytes < TRACEBACK_BYTES;
        bytes += json_string_length(text);
        json_decref(string);
        if (!fits) {
            json_decref(text);
            (void)json_array_append_new(lines, json_string("[execd: the rest is cut]"));
            break;
        }
        (void)json_array_append_new(lines, text);
    }
    return lines;
}

json_t *output_error_object(const json_t *content)
{
    json_t *error = json_object(); /* without memory, keys are missing */
    (void)json_object_set_new(error, "ename",
                              text_field(content, "ename", "Error", NAME_MAX_BYTES));
    (void)json_object_set_new(error, "evalue", text_field(content, "evalue", "", LINE_MAX_BYTES));
    (void)json_object_set_new(error, "traceback", traceback_of(content));
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
