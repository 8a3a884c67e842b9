#include "execd/stream/event.h"

#include <string.h>

#include "proto/json/jfield.h"

/* Everything before the text, ready made: a flood of short lines is mostly this. */
static const struct slice heads[EVENT_TYPE_MAX] = {
#define HEAD(text)                                                                                 \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
#define EVENT(name, wire, key, place, terminal)                                                    \
    [EVENT_##name] = HEAD("{\"type\":\"" wire "\",\"" key "\":"),
#include "proto/api/events.def"
#undef EVENT
#undef HEAD
};

static const char timestamp_key[] = ",\"timestamp\":";

/* `,"timestamp":N` without printf. */
static void add_timestamp(struct strbuf *out, int64_t wall_ms)
{
    char text[sizeof(timestamp_key) + 24];
    size_t at = sizeof(text);
    uint64_t value = wall_ms > 0 ? (uint64_t)wall_ms : 0;

    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    at -= sizeof(timestamp_key) - 1;
    memcpy(text + at, timestamp_key, sizeof(timestamp_key) - 1);
    strbuf_add(out, text + at, sizeof(text) - at);
}

void event_encode_text(struct strbuf *out, enum event_type type, int64_t wall_ms, const char *text,
                       size_t len)
{
    strbuf_add(out, heads[type].ptr, heads[type].len);
    json_escape(out, text, len);
    add_timestamp(out, wall_ms);
    strbuf_addc(out, '}');
}

static void add_payload(struct strbuf *out, const struct event_row *row, const char *json,
                        size_t len)
{
    strbuf_adds(out, ",\"");
    strbuf_adds(out, row->key);
    strbuf_adds(out, "\":");
    strbuf_add(out, json, len);
}

void event_encode_fragment(struct strbuf *out, enum event_type type, int64_t wall_ms,
                           const char *json, size_t len)
{
    const struct event_row *row = &event_rows[type];
    bool omit = len == 0 || (type == EVENT_EXECUTION_COMPLETE && len == 1 && json[0] == '0');

    strbuf_adds(out, "{\"type\":\"");
    strbuf_adds(out, row->wire);
    strbuf_addc(out, '"');
    if (!omit && row->payload_first)
        add_payload(out, row, json, len);
    add_timestamp(out, wall_ms);
    if (!omit && !row->payload_first)
        add_payload(out, row, json, len);
    strbuf_addc(out, '}');
}
