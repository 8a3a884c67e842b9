/*
 * Terminals of Jupyter clients: the terminal sessions of execd/pty under names of their own.
 *
 * Those made elsewhere are shown under their id. A terminal is there as long as its shell runs. Knows nothing of HTTP.
 * Thread rule: loop thread only. Source: contracts/jupyter.md 2.10.
 */
#pragma once

#include <jansson.h>

#include "execd/pty/term.h"

struct terminals;

#define TERMINAL_NAME_MAX 64

struct terminals *terminals_new(struct term_manager *terms); /* borrowed */
void terminals_free(struct terminals *t); /* NULL is fine; shells are left alone */

/* Starts a shell in cwd (NULL or "": execd's own). name NULL or "": the lowest free number; one in use stands for the
 * terminal that has it. *ret_name is the terminal's, valid until it is removed. Errors of term_create and term_start;
 * ERR_INVALID_REQUEST_BODY for a name that could stand in no address. */
int terminals_start(struct terminals *t, const char *name, const char *cwd, const char **ret_name,
                    struct err *err) must_check;

/* NULL when there is none, or its shell has ended. */
struct term *terminals_find(struct terminals *t, const char *name);
void terminals_remove(struct terminals *t, const char *name); /* kills it; one that exists */
/* Somebody reads or writes it. */
void terminals_touch(struct terminals *t, const struct term *term);

/* {"name", "last_activity"}. New references. */
json_t *terminals_model(struct terminals *t, const char *name); /* of one that exists */
json_t *terminals_list(struct terminals *t);
