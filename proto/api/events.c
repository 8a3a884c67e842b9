#include "proto/api/events.h"

#define FRONT true
#define BACK false

const struct event_row event_rows[EVENT_TYPE_MAX] = {
#define EVENT(name, wire_type, payload_key, place, is_terminal)                                    \
    [EVENT_##name] = {.wire = (wire_type),                                                         \
                      .key = (payload_key),                                                        \
                      .payload_first = (place),                                                    \
                      .terminal = (is_terminal)},
#include "proto/api/events.def"
#undef EVENT
};
