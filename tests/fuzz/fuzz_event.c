/* Events: any bytes become one JSON object on one line, which says the type, the time and the repaired text.
 * First byte: the type of the event. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/stream/event.h"
#include "proto/json/jfield.h"

/* What the text should come out as: bad bytes become U+FFFD. */
static void repair(struct strbuf *out, const char *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        int n = utf8_sequence(p + i, len - i);
        strbuf_add(out, n > 0 ? p + i : "\xef\xbf\xbd", n > 0 ? (size_t)n : 3);
        i += n > 0 ? (size_t)n : 1;
    }
}

static void check_line(const struct strbuf *line)
{
    static const char *const separators[] = {"\n",           "\r",   "\xc2\x85", "\xe2\x80\xa8",
                                             "\xe2\x80\xa9", "\x1b", "\x7f"};

    for (size_t i = 0; i < ARRAY_LEN(separators); i++) {
        if (memmem(line->data, line->len, separators[i], strlen(separators[i])) != NULL)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf line, expected;

    if (size < 1)
        return 0;
    enum event_type type = (enum event_type)(data[0] % EVENT_TYPE_MAX);
    const char *text = (const char *)data + 1;
    strbuf_init(&line, 8 * size + 256);
    strbuf_init(&expected, 3 * size + 16);
    event_encode_text(&line, type, 1234567890123, text, size - 1);
    repair(&expected, text, size - 1);
    if (strbuf_check(&line) < 0)
        abort();
    check_line(&line);
    json_t *event = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    json_t *value = json_object_get(event, event_rows[type].key);
    if (event == NULL || json_string_length(value) != expected.len ||
        (expected.len > 0 && memcmp(json_string_value(value), expected.data, expected.len) != 0) ||
        strcmp(json_string_value(json_object_get(event, "type")), event_rows[type].wire) != 0 ||
        json_integer_value(json_object_get(event, "timestamp")) != 1234567890123)
        abort();
    json_decref(event);
    strbuf_done(&line);
    strbuf_done(&expected);
    return 0;
}
