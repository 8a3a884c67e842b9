/*
 * Replacing text in a file: every occurrence, byte for byte, in bounded memory.
 *
 * The new text goes into a temporary file beside the target; fsync and a rename put it in place, with the mode and
 * owner of the old one: a reader sees the old or the new file, and a failure leaves the old (hardening F15). A file
 * that somebody changed meanwhile is left alone, and so is one without a match. Links at the end are followed; other
 * hard links of the file keep the old text. Thread rule: for file_job.
 */
#pragma once

#include <sys/stat.h>

#include "execd/files/place.h"
#include "execd/files/temp.h"

#define REPLACE_SIZE_MAX (UINT64_C(64) << 20)    /* bytes of the file */
#define REPLACE_RESULT_MAX (UINT64_C(256) << 20) /* and of what becomes of it */

extern const struct file_op replace_op;
struct replace_item {
    const char *path; /* in the job's arena, as the rest */
    const char *key;  /* the path as asked */
    const char *old, *new;
    uint64_t count; /* result */
    /* private */
    bool begun;
    struct place place;
    int in, out;
    struct stat st;
    char temp[TEMP_NAME_MAX];
    char *buffer; /* owned: what goes out, then what came in */
    char *text;   /* borrowed from buffer: what came in */
    size_t len, out_len;
    uint64_t written;
};
