/*
 * A row of operations on files, run in the worker pool slice by slice, one after the other.
 *
 * A slice lasts some milliseconds, then the loop hears of it and posts the next one: a tree of a million files holds
 * no thread for long, and the work ends with its slice when the client leaves. The first failure ends the row;
 * operations before it stay done (contracts/execd.md 1.9). Everything that the operations use lives in the job's own
 * arena, because the request may be gone while the pool works. Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/base/mem.h"

struct work_pool;
struct file_job;

enum { FILE_DONE = 0, FILE_MORE = 1 };

/* One kind of operation; items are structs of `size` bytes, zeroed. */
struct file_op {
    size_t size;
    /* In the pool, a few milliseconds at most: FILE_DONE, FILE_MORE or -errno with err. */
    int (*step)(void *item, struct err *err);
    /* In the pool, after a failure or a cancel, until FILE_DONE: takes back what is half done. May be NULL. */
    int (*undo)(void *item);
    void (*done)(
        void *item); /* on the loop: what the item owns outside of the arena. May be NULL. */
};

#define FILE_JOB_ITEMS_MAX 10000

struct file_job *file_job_new(const struct file_op *op);
struct arena *file_job_arena(struct file_job *job);
/* Appends one item; NULL when there is no memory for it or there are FILE_JOB_ITEMS_MAX. Moves the others. */
void *file_job_add(struct file_job *job, struct err *err);
size_t file_job_count(const struct file_job *job);
void *file_job_item(struct file_job *job, size_t i);

/* on_done runs later, once (posted), unless it is freed before: err NULL on success. -EAGAIN: the pool is full. */
int file_job_start(struct file_job *job, struct work_pool *pool,
                   void (*on_done)(void *arg, const struct err *err), void *arg,
                   struct err *err) must_check;
/* cb runs once, on the loop, as soon as no job is left, at once if there is none. */
void file_jobs_when_none(void (*cb)(void *arg), void *arg);
/* At any time; what runs is taken back and freed later. NULL is fine. */
void file_job_free(struct file_job *job);
