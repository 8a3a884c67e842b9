/*
 * A copy of a file or tree into another folder, under a temporary name: what a move across file systems is made of.
 *
 * Kinds, modes, owners, times, links and holes are kept; where an owner cannot be kept (we are not root) no set-id
 * bit is. Hard links become files of their own; extended attributes are not copied. Links are copied, never
 * followed; mount points in the tree are refused. Without recursion, with few descriptors, however deep.
 * Thread rule: one thread at a time; blocks on disk.
 */
#pragma once

#include "execd/files/place.h"

struct copier;

/* Both folders are borrowed until copier_free. */
int copier_new(const struct place *from, int to_fd, const char *to_name, struct copier **ret_copier,
               struct err *err) must_check;
int copier_step(struct copier *c, struct err *err) must_check; /* as file_op.step */
void copier_free(struct copier *c);                            /* NULL is fine */
