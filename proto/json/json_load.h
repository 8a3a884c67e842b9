/*
 * JSON texts as jansson's trees, made in runs of plain bytes: jansson's own parser goes byte by byte, and where memory
 * ends within a string it loses bytes without a word.
 *
 * Pure. Thread rule: any thread. Source: RFC 8259; contracts/jupyter.md 1.5.
 */
#pragma once

#include <jansson.h>

#include "proto/base/defs.h"

struct json_flaw {
    const char *at;   /* in the text, or behind it */
    const char *what; /* constant; NULL: memory has ended */
};

/* For what clients send; jfield.h wraps it. A new reference, or NULL and ret_flaw: no valid text as json_scan.h has it, a
 * name twice in an object, a zero byte or half a surrogate pair in a string, a number beyond 64 bits or a double. */
json_t *json_load(struct slice text, struct json_flaw *ret_flaw) must_check;
/* For what kernels send, where losing a message is worse: half a pair becomes U+FFFD, an integer beyond 64 bits a real, a
 * number beyond that the string of its digits, a collection nested deeper than JSON_SCAN_DEPTH_MAX (up to
 * JSON_SCAN_DEEP_MAX) JSON_LOAD_LEFT_OUT; strings may have zero bytes, names end at one, and of members with the same name
 * the last counts. NULL also without memory. */
#define JSON_LOAD_LEFT_OUT "[execd: left out, nested too deep]"
json_t *json_load_tolerant(struct slice text) must_check;
