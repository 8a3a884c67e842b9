/*
 * JSON texts looked at where they stand: is this one valid value, and where are the members of an object.
 *
 * For texts that are passed on byte for byte (messages of kernels and their clients): nothing is allocated, nothing is
 * converted, so numbers and escapes stay as they were written. Strict: RFC 8259 and valid UTF-8, nesting of at most
 * JSON_SCAN_DEPTH_MAX; lone surrogates in escapes are let through, as JavaScript and Python write them.
 * Pure. Thread rule: any thread. Source: RFC 8259.
 */
#pragma once

#include "proto/base/defs.h"

#define JSON_SCAN_DEPTH_MAX 512
#define JSON_SCAN_DEEP_MAX 4096

/* One value and nothing behind it but blanks: 0, else -EINVAL. ret_value (may be NULL) is it without the blanks; on
 * failure what is left of the text from where it goes wrong. */
int json_scan(struct slice text, struct slice *ret_value) must_check;
/* The same with JSON_SCAN_DEEP_MAX, for who looks at the depth itself. */
int json_scan_deep(struct slice text, struct slice *ret_value) must_check;

struct json_member {
    struct slice key; /* between its quotes, as written: escapes are not resolved */
    struct slice value;
};

/* The member at *at (0 at first) of an object that json_scan has accepted; false behind the last one. */
bool json_next_member(struct slice object, size_t *at, struct json_member *ret_member);

/* A string that json_scan has accepted, with its quotes: does it hold an escape that is half of a character? */
bool json_has_lone_surrogate(struct slice string);

/* The last member of that name, as parsers have it; an empty slice when there is none. */
struct slice json_find_member(struct slice object, const char *key);
/* The value is this string, written without escapes. */
bool json_text_is(struct slice value, const char *text);
