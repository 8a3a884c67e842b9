/*
 * One sandbox as a JSON record and back: the body column of the store.
 * Pure. Thread rule: any thread. A record that does not decode is an error that names its field.
 */
#pragma once

#include "server/model/sandbox.h"

json_t *record_encode(const struct sandbox *sb);
/* *ret is zeroed and filled; its arena is initialised here and the caller's to release. */
int record_decode(const char *text, struct sandbox *ret, struct err *err) must_check;
/* A deep copy with an arena of its own, by way of the record. */
int record_copy(const struct sandbox *sb, struct sandbox *ret, struct err *err) must_check;
