/*
 * Types of stream events as an enum and as rows (events.def). Constant data, any thread.
 */
#pragma once

#include "proto/base/defs.h"

enum event_type {
#define EVENT(name, wire, key, place, terminal) EVENT_##name,
#include "proto/api/events.def"
#undef EVENT
    EVENT_TYPE_MAX,
};

struct event_row {
    const char *wire;   /* value of "type" */
    const char *key;    /* key of the payload */
    bool payload_first; /* before "timestamp" */
    bool terminal;
};

extern const struct event_row event_rows[EVENT_TYPE_MAX];
