/*
 * What a terminal showed, as asciicast v2 text: a header line, then one line per piece of output.
 *
 * Kept in memory in blocks, up to a size of its own and a budget that all recordings share; when either is used up a
 * last marker event says "recording truncated" and nothing more is taken. Input is never recorded: it may be secret.
 * Reference-counted: a download goes on when its session is deleted. Thread rule: loop thread only.
 * Source: asciicast v2 file format.
 */
#pragma once

#include "proto/base/defs.h"

struct recording;

struct recording_budget {
    size_t used, max; /* bytes of all recordings */
};

/* budget is borrowed and outlives the recording. NULL when not even the header fits the budget or memory. */
struct recording *recording_new(struct recording_budget *budget, size_t size_max, unsigned cols,
                                unsigned rows);
struct recording *recording_ref(struct recording *r);
void recording_unref(struct recording *r); /* NULL is legal */

/* Bytes of a character that is not complete yet wait for the next call. */
void recording_output(struct recording *r, const char *p, size_t n);
void recording_resize(struct recording *r, unsigned cols, unsigned rows);

size_t recording_len(const struct recording *r); /* whole lines so far; never shrinks */
bool recording_is_truncated(const struct recording *r);
/* A piece from offset on, empty at the end; valid as long as the reference. */
struct slice recording_read(const struct recording *r, size_t offset);
