/*
 * Range requests: one byte range of a representation of known size (RFC 9110 section 14).
 *
 * Only the unit "bytes"; of several ranges the first satisfiable one is served (contracts/execd.md 1.11),
 * more than 16 count as none. Pure. Thread rule: any thread.
 */
#pragma once

#include "proto/base/defs.h"

enum range_result {
    RANGE_NONE,          /* no or ignorable header: answer 200 with everything */
    RANGE_PARTIAL,       /* 206 with *ret_first .. *ret_last (inclusive) */
    RANGE_UNSATISFIABLE, /* 416 with Content-Range: bytes * /size */
    RANGE_MALFORMED,     /* 416 as upstream does, with a typed JSON error */
};
enum range_result range_parse(const char *header, uint64_t size, uint64_t *ret_first,
                              uint64_t *ret_last);
