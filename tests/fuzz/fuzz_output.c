/* What a kernel publishes: any JSON as the content of a message becomes events whose payloads are JSON of the
 * promised shape, strings only, and bounded. Text comes out byte for byte, results with every type that went in, an
 * error once and last. First byte: the kind of message. */
#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/code/kernel_info.h"
#include "execd/code/output.h"
#include "proto/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void show(struct channel *ch, unsigned kind, const json_t *content)
{
    json_t *error;
    size_t offset = 0;
    switch (kind) {
    case 0:
        while (!output_stream(ch, content, &offset))
            ;
        break;
    case 1:
        output_clear(ch, content);
        break;
    case 2:
        output_payloads(ch, content);
        break;
    case 3:
        error = output_error_object(content);
        output_error_as_text(ch, error);
        output_error(ch, error);
        json_decref(error);
        break;
    default:
        output_result(ch, content, (enum output_kind)(kind - 4));
    }
}

static void check_error(const json_t *payload)
{
    const json_t *lines = json_object_get(payload, "traceback");
    size_t i;
    json_t *line;
    if (!json_is_string(json_object_get(payload, "ename")) ||
        !json_is_string(json_object_get(payload, "evalue")) || !json_is_array(lines))
        abort();
    json_array_foreach(lines, i, line)
    {
        if (!json_is_string(line))
            abort();
    }
}

static void check_results(json_t *payload)
{
    const char *mime;
    json_t *value;
    json_object_foreach(payload, mime, value)
    {
        if (!json_is_string(value))
            abort();
    }
    if (json_string_length(json_object_get(payload, "text")) > OUTPUT_TEXT_MAX + 64)
        abort();
    if (!json_object_get(payload, "text") != !json_object_get(payload, "text/plain") ||
        (json_object_get(payload, "text") &&
         !json_equal(json_object_get(payload, "text"), json_object_get(payload, "text/plain"))))
        abort();
}

/* All that went in comes out, and nothing else. */
static void check_types(const json_t *payload, json_t *data)
{
    const char *mime;
    json_t *value;
    size_t n = 0;
    json_object_foreach(data, mime, value)
    {
        const json_t *shown = json_object_get(payload, mime);
        if (strcmp(mime, "text") == 0)
            continue;
        n++;
        if (!json_is_string(shown))
            abort();
        if (json_is_string(value) && json_string_length(value) <= OUTPUT_TEXT_MAX &&
            !json_equal(shown, value))
            abort();
    }
    if (json_object_size(payload) != n + (json_object_get(data, "text/plain") ? 1 : 0))
        abort();
}

/* What has come out so far. */
struct seen {
    size_t text, n_errors, n_results;
};

static void check_text(const struct channel_entry *e, unsigned kind, const json_t *content,
                       struct seen *seen)
{
    enum event_type type;
    struct slice text = output_text(content, &type);
    if (!utf8_is_valid(e->data, e->len))
        abort();
    if (kind == 0 && (e->type != type || e->len > text.len - seen->text ||
                      memcmp(e->data, text.ptr + seen->text, e->len) != 0))
        abort();
    seen->text += e->len;
}

static void check(const struct channel_entry *e, unsigned kind, const json_t *content,
                  struct seen *seen)
{
    if (seen->n_errors > 0)
        abort(); /* nothing comes behind it */
    if (e->type == EVENT_STDOUT || e->type == EVENT_STDERR) {
        check_text(e, kind, content, seen);
        return;
    }
    json_t *payload = json_loadb(e->data, e->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!payload)
        abort();
    if (e->type == EVENT_ERROR)
        check_error(payload);
    if (e->type == EVENT_RESULT)
        check_results(payload);
    if (e->type == EVENT_RESULT && kind > 3)
        check_types(payload, json_object_get(content, "data"));
    seen->n_errors += e->type == EVENT_ERROR;
    seen->n_results += e->type == EVENT_RESULT;
    json_decref(payload);
}

static void check_all(unsigned kind, const json_t *content, const struct seen *seen)
{
    enum event_type type;
    bool has_data = json_is_object(json_object_get(content, "data"));
    if (kind == 0 && seen->text != output_text(content, &type).len)
        abort();
    if (seen->n_errors != (kind == 3) || (kind > 3 && seen->n_results != has_data))
        abort();
}

static void on_ready(void *arg)
{
    (void)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct event_base *base;
    struct channel_reader reader = {0};
    struct channel_entry entry;
    struct kernel_info info;
    struct seen seen = {0};
    if (!base)
        base = event_base_new();
    json_t *content =
        size > 0 ? json_loadb((const char *)data + 1, size - 1, JSON_ALLOW_NUL, NULL) : NULL;
    if (!content)
        return 0;
    struct channel *ch = channel_new(base, NULL);
    channel_attach(&reader, ch, CHANNEL_FROM_START, on_ready, NULL);
    unsigned kind = data[0] % 7;
    show(ch, kind, content);
    for (; channel_peek(&reader, &entry); channel_advance(&reader))
        check(&entry, kind, content, &seen);
    check_all(kind, content, &seen);
    kernel_info_read(content, &info);
    if (strlen(info.language_version) >= sizeof(info.language_version))
        abort();
    channel_detach(&reader);
    channel_unref(ch);
    json_decref(content);
    return 0;
}
