/*
 * A search for files by name, run in the worker pool step by step and read piece by piece.
 *
 * Below `root`, in the order of walk.h: everything that is no directory and whose last component (or, for a pattern
 * with '/', its path below the root) matches. A root that is a file is the only candidate. Each step works for a few
 * milliseconds or until a piece of JSON is full, then the loop hears of it; the next step runs when it asks. So a
 * search holds no thread for long, never more than one piece of output, and ends with the step in which its owner
 * leaves. Budgets: SEARCH_ENTRIES_MAX entries looked at, SEARCH_WORK_MS of work, SEARCHES_MAX searches at once; the
 * first two cut the result (hardening F16). Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"

#define SEARCH_ENTRIES_MAX 5000000
#define SEARCH_WORK_MS 60000
#define SEARCHES_MAX 16
#define SEARCH_PIECE (64 * 1024) /* bytes of JSON; a piece ends behind the entry that fills it */

struct work_pool;
struct search;

struct search_piece {
    struct slice json; /* entries separated by commas, without brackets; valid until search_step */
    bool last;
    bool cut;              /* with last: a budget ended it */
    const struct err *err; /* NULL, or why there is no result; then it is the last */
};

/* Takes the pattern's meaning from proto/base/glob.h. ERR_INVALID_QUERY for a bad pattern. */
int search_new(const char *root, const char *pattern, struct work_pool *pool,
               struct search **ret_search, struct err *err) must_check;
/* Everything below the folder `root` down to `depth` levels, folders too; 0 = nothing. Links are listed, not entered, and
 * `root` itself must be no link: ERR_INVALID_PATH. */
int search_new_list(const char *root, int64_t depth, struct work_pool *pool,
                    struct search **ret_search, struct err *err) must_check;
/* on_piece runs later, once (posted). No second call before it ran, none after the last piece. -EAGAIN: the pool is
 * full; on_piece does not run. */
int search_step(struct search *s, void (*on_piece)(void *arg, const struct search_piece *piece),
                void *arg, struct err *err) must_check;
void search_free(struct search *s); /* at any time: on_piece is not called any more; NULL is fine */
