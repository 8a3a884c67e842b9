/*
 * Removing: one name, or a tree with everything in it.
 *
 * A tree is emptied without recursion and with two descriptors, however deep it is: a folder is entered by its name
 * without following links, left by "..", and known again by its inode. Exchanging a folder for a link or moving it
 * elsewhere meanwhile ends the removal instead of leading it astray (hardening F08, F18). Mount points are refused
 * when met, "/" at once. What is missing counts as removed.
 * Thread rule: one thread at a time; blocks on disk.
 */
#pragma once

#include "execd/files/place.h"

struct remover;

/* Begins to remove the tree `name` in the folder dir_fd (borrowed until remover_free). */
int remover_new(int dir_fd, const char *name, struct remover **ret_remover,
                struct err *err) must_check;
int remover_step(struct remover *r, struct err *err) must_check; /* as file_op.step */
void remover_free(struct remover *r);                            /* NULL is fine */

extern const struct file_op remove_op;
struct remove_item {
    const char *path; /* in the job's arena */
    bool tree;        /* false: a folder is refused */
    /* private */
    struct place place;
    bool begun;
    struct remover *remover;
};
