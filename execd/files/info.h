/*
 * Facts of one path as clients see them: kind, size, times, owner names, mode digits (contracts/execd.md 1.9).
 *
 * lstat semantics; owner and group through execd/proc/users. Thread rule: loop thread only.
 */
#pragma once

#include <jansson.h>

#include "proto/base/err.h"

/* New object with the keys path, type, size, modified_at, created_at, owner, group, mode in this order. */
int file_info(const char *path, json_t **ret_info, struct err *err) must_check;
/* Octal digits written as a decimal number: 755 → 0755. -EINVAL for digits 8, 9 or too many. */
int file_mode_from_digits(int64_t digits, unsigned *ret_mode) must_check;
