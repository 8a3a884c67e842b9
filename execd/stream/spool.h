/*
 * A spool: follows a channel and keeps the raw output of a background run in a file, byte for byte, for log pages.
 *
 * stdout and stderr stand in it in the order in which they were read (contracts/execd.md 1.7). A short log stays in
 * memory; beyond SPOOL_MEMORY_MAX it moves to a file without a name (O_TMPFILE in $TMPDIR, /tmp or /var/tmp; memory
 * where none of them can be written), so nothing is left behind. Writing happens in the worker pool; being a reader of the channel, a spool slows the process down to what the disk
 * takes. At `max` bytes, or when the disk fails, it stops and says so; the run goes on.
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/stream/channel.h"

#define SPOOL_MEMORY_MAX (64 * 1024)

struct spool;
struct work_pool;

/* on_settled is posted once: the channel is closed and everything that will be stored is. */
int spool_new(struct event_base *base, struct work_pool *pool, struct channel *ch, uint64_t max,
              void (*on_settled)(void *arg), void *arg, struct spool **ret_spool) must_check;
/* Frees when nothing is being written any more; no callback afterwards. NULL is fine. */
void spool_release(struct spool *s);

uint64_t spool_size(const struct spool *s); /* bytes that can be read */
bool spool_is_cut(const struct spool *s);   /* there was more output than is stored */
/* The whole of a short log, borrowed until the loop runs again; NULL when it is in a file. */
const char *spool_memory(const struct spool *s);
/* Own descriptor of the file for one reader, CLOEXEC; pread only. */
int spool_open(const struct spool *s, int *ret_fd) must_check;
