/*
 * The last bytes that a terminal session produced, addressed by their offset since its beginning.
 *
 * Writing never fails and never waits: the oldest bytes give way. Readers come with an offset of their own and see by
 * ring_oldest whether they were overtaken. Beside the bytes the ring remembers which stream each run came from (standard
 * output or error), as far as its table of runs reaches; older bytes are of RING_UNKNOWN stream.
 * The memory is mapped at the first byte and kept out of children (MADV_DONTFORK): a fork copies none of it.
 * Without memory for it, bytes are counted and forgotten. Thread rule: loop thread only. Source: contracts/execd.md 3.5.
 */
#pragma once

#include "proto/base/defs.h"

enum ring_stream { RING_STDOUT, RING_STDERR, RING_UNKNOWN };

struct ring_run {
    uint64_t end; /* offset behind its last byte */
    enum ring_stream stream;
};

struct ring {
    char *data;     /* mapped; NULL before the first byte */
    size_t size;    /* bytes that are kept */
    uint64_t total; /* bytes ever written */
    uint64_t lost;  /* offset below which nothing is kept, beside what size says (no memory) */
    /* The runs, oldest first, as a circular table; allocated when the stream changes for the first time. */
    struct ring_run *runs; /* owned */
    size_t first_run, n_runs;
    uint64_t runs_from;       /* offset from which the table speaks */
    enum ring_stream current; /* of the latest byte; the only one while there is no table */
};

#define RING_RUNS_MAX 4096

void ring_init(struct ring *r, size_t size);
void ring_done(struct ring *r); /* legal on a zeroed struct */

void ring_write(struct ring *r, enum ring_stream stream, const char *p, size_t n);

static inline uint64_t ring_total(const struct ring *r)
{
    return r->total;
}
uint64_t ring_oldest(const struct ring *r);

/* Up to max bytes from offset on (between oldest and total) in at most two parts. Returns their number, 0 at the end.
 * Borrowed until the next write. */
size_t ring_read(const struct ring *r, uint64_t offset, size_t max, struct slice ret_parts[2]);

/* The stream of the byte at offset, and how far it goes on as one. */
enum ring_stream ring_run_at(const struct ring *r, uint64_t offset, uint64_t *ret_end);
