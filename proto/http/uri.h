/*
 * Percent-encoding and -decoding, and the small grammars of request targets, query strings and Host.
 *
 * Everything is decoded exactly once. Pure. Thread rule: any thread. Source: RFC 3986, RFC 9110 section 7.2.
 */
#pragma once

#include "proto/base/mem.h"

/* Decodes %XX from p[0..n) into out (at least n bytes, may be p itself); plus: '+' means a blank.
 * Returns the length, or -EINVAL for a broken escape or %00. */
ssize_t uri_decode(const char *p, size_t n, bool plus, char *out) must_check;

/* Decoded copy in the arena ('+' is a blank); -EINVAL when it is badly encoded or not UTF-8, -ENOMEM. */
int uri_decode_query(struct arena *arena, const char *p, size_t len, const char **ret) must_check;
/* The same for path segments ('+' stays). */
int uri_decode_path(struct arena *arena, const char *p, size_t len, const char **ret) must_check;

/* Copy in the arena: what is neither unreserved (RFC 3986 2.3) nor in `keep` becomes %XX; NULL: no memory. */
char *uri_encode(struct arena *arena, const char *text, const char *keep);

/* No control bytes (C0, DEL) and valid UTF-8: what a decoded path segment must be. */
bool uri_text_is_clean(const char *p, size_t n);

/* A port in a path: plain decimal, 1..65535, no sign, no leading zero (hardening I01). */
bool uri_parse_port(const char *text, uint16_t *ret_port);

/* A Host value: reg-name, IPv4 or [IPv6], with an optional port 0..65535; empty is legal (RFC 9110 7.2). */
bool uri_host_is_valid(const char *p, size_t n);
