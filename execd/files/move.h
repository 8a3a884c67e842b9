/*
 * Moving a file or tree: one rename that never replaces anything; across file systems a copy under a temporary name,
 * the same rename, then the removal of the source (hardening F19).
 *
 * Until the rename the destination does not exist, and a failure takes the copy back. A failure behind it leaves both.
 * Missing folders above the destination are made. Links at either end are moved, not followed.
 * Thread rule: for file_job.
 */
#pragma once

#include "execd/files/place.h"
#include "execd/files/temp.h"

extern const struct file_op move_op;
struct move_item {
    const char *src, *dest; /* in the job's arena */
    /* private */
    enum move_phase {
        MOVE_NEW,
        MOVE_COPY,    /* into `temp` beside dest */
        MOVE_REMOVE,  /* dest is there: the source goes */
        MOVE_DISCARD, /* after a failure: `temp` goes */
        MOVE_OVER,
    } phase;
    struct place from, to;
    char temp[TEMP_NAME_MAX];
    struct copier *copier;
    struct remover *remover;
};
