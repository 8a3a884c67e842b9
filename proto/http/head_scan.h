/*
 * The strict byte-level check of a message head, before anything interprets it.
 *
 * Runs over arriving bytes and finds the end of the head. Every line must end with CR LF; bare CR, bare LF,
 * NUL and other control bytes, folded lines, empty names, blanks before the colon are refused at the first
 * such byte, so nonsense (TLS, HTTP/2, binary) never waits for a deadline. One empty line before a request
 * is skipped (RFC 9112 2.2). What passes is unambiguous for every parser behind it.
 * Pure, no allocation. Thread rule: any thread. Source: RFC 9112 sections 2-5, hardening.md D01-D52.
 */
#pragma once

#include "proto/base/err.h"

struct head_scan {
    unsigned char state; /* private */
    bool response;       /* status line instead of request line */
    unsigned n_fields;
    size_t line_len; /* of the line being read */
    size_t total;    /* bytes seen, with the skipped empty line */
    size_t skip;     /* 0 or 2: bytes in front of the start line */
    size_t line_max; /* start line */
    size_t head_max;
    unsigned fields_max;
};

#define HEAD_LINE_MAX 16384 /* request line: beyond it 414 */

void head_scan_init(struct head_scan *s, bool response, size_t head_max, unsigned fields_max);

/* Eats bytes: 1 = the head ended after *ret_used of them, 0 = all eaten, more needed, -errno with err
 * (-EINVAL malformed, -E2BIG a limit; err->code tells 400, 414 or 431). */
int head_scan_feed(struct head_scan *s, const char *p, size_t n, size_t *ret_used,
                   struct err *err) must_check;
