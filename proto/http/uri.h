/*
 * Percent-decoding and the query string (RFC 3986, application/x-www-form-urlencoded).
 *
 * Exactly one decode; a bad escape, %00 or invalid UTF-8 is refused, never passed on. Pure; any thread.
 */
#pragma once

#include "proto/base/mem.h"

/* Decoded copy in the arena ('+' is a blank); NULL when it is badly encoded or memory is exhausted. */
char *uri_decode_query(struct arena *arena, const char *p, size_t len);
/* The same for path segments ('+' stays). */
char *uri_decode_path(struct arena *arena, const char *p, size_t len);
