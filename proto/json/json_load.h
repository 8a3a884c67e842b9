/*
 * JSON texts of others as trees, where a parser that is strict about what it keeps would lose them or take its time.
 *
 * For what kernels send: strings of a megabyte are taken over in runs instead of byte by byte, a lone surrogate becomes
 * U+FFFD and an integer beyond 64 bits a real. Of members with the same name the last counts. Not for requests of
 * clients: those go through jfield.h, which refuses instead.
 * Pure. Thread rule: any thread. Source: RFC 8259; contracts/jupyter.md 1.5.
 */
#pragma once

#include <jansson.h>

#include "proto/base/defs.h"

/* New reference. NULL: no valid text as json_scan.h has it, a number no double can hold, a NUL in a name, no memory. */
json_t *json_load(struct slice text) must_check;
