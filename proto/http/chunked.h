/*
 * A strict decoder of the chunked transfer coding: bytes in, runs of data out, no buffer.
 *
 * Chunk sizes are 1 to 15 hex digits; chunk extensions (≤ 256 bytes per chunk) are read and dropped, so are trailer
 * fields (≤ 8 KiB) unless somebody keeps them; every line ends with CR LF. Anything else is refused, because a lenient decoder and a
 * strict one disagree about where the next message begins. Pure. Thread rule: the owner's thread.
 * Source: RFC 9112 section 7.1, hardening.md D01-D48.
 */
#pragma once

#include "proto/base/defs.h"

struct strbuf;

struct chunked {
    unsigned char state;  /* private */
    unsigned char digits; /* of the size line */
    uint64_t left;        /* data bytes left in this chunk */
    size_t overhead;      /* bytes of the extension, or of all trailers */
    /* Borrowed, set after chunked_init; NULL = dropped. Takes the trailer fields as they came: "name:value\r\n" each,
     * an empty line last. Names are tokens, values have no control bytes. */
    struct strbuf *trailers;
};

enum chunked_result {
    CHUNKED_MORE, /* everything was eaten, no data */
    CHUNKED_DATA, /* *ret_data is a run inside p[0..n) */
    CHUNKED_END,  /* the last CR LF was eaten; bytes behind *ret_used belong to the next message */
    CHUNKED_BAD,
};

void chunked_init(struct chunked *c);
enum chunked_result chunked_next(struct chunked *c, const char *p, size_t n, size_t *ret_used,
                                 struct slice *ret_data);
