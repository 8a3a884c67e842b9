/*
 * A line assembler: runs of output bytes in, pieces of text for events out (contracts/v1.1.md 1.2).
 *
 * Terminators are "\n", "\r" and "\r\n". Keep: pieces are the bytes as they came; a "\r" at the very end waits for
 * the byte behind it, or for lines_flush. Strip: pieces are lines without terminator, "\n" for an empty one; a "\r"
 * ends its line at once and a "\n" right behind it is swallowed.
 * A piece never ends inside a UTF-8 sequence that may still be completed. Time is linear and memory bounded: an
 * unfinished line longer than LINE_KEEP_MAX (keep) or LINE_STRIP_MAX (strip) goes out in parts.
 * Pure. Thread rule: the owner's thread.
 */
#pragma once

#include "proto/base/str.h"

#define LINE_KEEP_MAX (64 * 1024)
#define LINE_STRIP_MAX (1024 * 1024)
/* A run at least this long is passed on in one piece up to its last line end: the process outruns the stream. */
#define LINE_FLOOD (32 * 1024)

/* `taken` bytes of output are done with: the text and the terminator that was stripped. */
typedef void (*lines_emit_fn)(void *arg, const char *text, size_t len, size_t taken);

struct lines {
    bool strip;
    bool after_cr;       /* strip: the last line ended in "\r" */
    uint64_t n_pieces;   /* emitted so far: tells whether the unfinished line is still the same */
    struct strbuf carry; /* owned: the unfinished line */
};
void lines_init(struct lines *l, bool strip);
void lines_done(struct lines *l);
void lines_feed(struct lines *l, const char *p, size_t n, lines_emit_fn emit, void *arg);
/* What is unfinished goes out, but for an incomplete UTF-8 sequence unless `last`. */
void lines_flush(struct lines *l, bool last, lines_emit_fn emit, void *arg);
size_t lines_pending(const struct lines *l); /* bytes that wait for their line's end */
void lines_trim(struct lines *l); /* gives back memory that an idle stream does not need */
