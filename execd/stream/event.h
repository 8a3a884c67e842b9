/*
 * One stream event as a JSON object on one line, byte for byte as in contracts/execd.md 2.1.
 *
 * Key order: type, payload (FRONT rows), timestamp, payload (BACK rows). Pure. Thread rule: any thread.
 */
#pragma once

#include "proto/api/events.h"
#include "proto/base/str.h"

/* Payload is raw text, written as a JSON string. */
void event_encode_text(struct strbuf *out, enum event_type type, int64_t wall_ms, const char *text,
                       size_t len);
/* Payload is a JSON fragment already; empty = no payload. execution_time 0 is left out, as clients expect. */
void event_encode_fragment(struct strbuf *out, enum event_type type, int64_t wall_ms,
                           const char *json, size_t len);
