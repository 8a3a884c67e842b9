/*
 * The folder of one run: made fresh below the temporary directory, filled with the code and the files of the request,
 * looked into at the end, and removed.
 *
 * Paths in it are relative and never lead out of it, whatever links the code plants. Writing, reading and removing are
 * file operations of execd/files/job.h: slices in the worker pool. Thread rule: loop thread only.
 */
#pragma once

#include "execd/files/job.h"

#define BOX_FETCH_FILE_MAX (8U << 20)   /* of one file that is fetched */
#define BOX_FETCH_TOTAL_MAX (16U << 20) /* of all of them */

/* Makes the folder, mode 0700, below $TMPDIR (as in envp) or /tmp. The path lives in the arena. */
int box_make(const char *const *envp, struct arena *arena, const char **ret_path,
             struct err *err) must_check;

/* The path as it is used in the folder, in the arena: relative, clean, not the folder itself. */
int box_path(const char *given, struct arena *arena, const char **ret_path,
             struct err *err) must_check;

extern const struct file_op box_write_op;
struct box_write { /* strings in the job's arena */
    const char *box, *path;
    const char *text;
    size_t len;
    bool base64; /* text is decoded before it is written */
};

extern const struct file_op box_read_op;
struct box_read {
    const char *box, *path;
    size_t *left; /* in the job's arena, one for all its items: bytes that may still be read */
    /* result */
    char *base64;   /* owned; NULL: no such regular file, or too large */
    bool too_large; /* by itself, or behind what was read before it */
};

/* For the end of the agent: removes what can be removed within limit_ms, here and now. */
void box_remove_now(const char *path, int limit_ms);
