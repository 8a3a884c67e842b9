#include "execd/stream/event.h"

#include <string.h>

#include "proto/json/jfield.h"

static void open_object(struct strbuf *out, enum event_type type)
{
    strbuf_adds(out, "{\"type\":\"");
    strbuf_adds(out, event_rows[type].wire);
    strbuf_addc(out, '"');
}

static void add_key(struct strbuf *out, const char *key)
{
    strbuf_adds(out, ",\"");
    strbuf_adds(out, key);
    strbuf_adds(out, "\":");
}

/* Hot path: no printf. */
static void add_timestamp(struct strbuf *out, int64_t wall_ms)
{
    char digits[24];
    size_t at = sizeof(digits);
    uint64_t value = wall_ms > 0 ? (uint64_t)wall_ms : 0;

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    add_key(out, "timestamp");
    strbuf_add(out, digits + at, sizeof(digits) - at);
}

void event_encode_text(struct strbuf *out, enum event_type type, int64_t wall_ms, const char *text,
                       size_t len)
{
    open_object(out, type);
    add_key(out, event_rows[type].key);
    json_escape(out, text, len);
    add_timestamp(out, wall_ms);
    strbuf_addc(out, '}');
}

void event_encode_fragment(struct strbuf *out, enum event_type type, int64_t wall_ms,
                           const char *json, size_t len)
{
    const struct event_row *row = &event_rows[type];
    bool omit = len == 0 || (type == EVENT_EXECUTION_COMPLETE && len == 1 && json[0] == '0');

    open_object(out, type);
    if (!omit && row->payload_first) {
        add_key(out, row->key);
        strbuf_add(out, json, len);
    }
    add_timestamp(out, wall_ms);
    if (!omit && !row->payload_first) {
        add_key(out, row->key);
        strbuf_add(out, json, len);
    }
    strbuf_addc(out, '}');
}
