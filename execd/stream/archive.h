/*
 * The archive: finds the channel of a run by the run's id, also for a while after its end, so that a client can
 * come back for what it missed.
 *
 * Holds one reference per channel. What is kept of ended runs is bounded by bytes, by number and by age; the
 * oldest go first. A log that is gone is simply not found: nothing pretends to be whole.
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/stream/channel.h"

struct archive;

struct archive_config {
    size_t budget;      /* bytes of ended runs; default 64 MiB */
    size_t retain;      /* bytes that one run keeps at most; default 1 MiB */
    unsigned ended_max; /* default 10,000 */
    int64_t ended_ms;   /* default 1 h */
};

int archive_new(struct event_base *base, const struct archive_config *config,
                struct archive **ret_archive) must_check;
void archive_free(struct archive *a);

/* id is copied; must be new. verbatim: its output is text with its own structure and is never split into lines. */
void archive_add(struct archive *a, const char *id, struct channel *ch, bool verbatim);
/* Borrowed; NULL when unknown or gone. */
struct channel *archive_find(struct archive *a, const char *id, bool *ret_verbatim);
/* How much one more channel should retain, so that many at once stay within the budget too. */
size_t archive_retain(const struct archive *a);
