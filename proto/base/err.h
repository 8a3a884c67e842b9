/*
 * Errors as values: what went wrong, for whom, in words.
 *
 * A fallible function returns 0 or more for success and -errno for failure, and fills the caller's
 * `struct err` (last parameter, may be NULL). It is set where the failure is detected, prefixed once
 * per layer crossed, logged or sent once at the top. Untouched on success. No heap.
 * `code` is a row of proto/api/errors.def (enum err_code); 0 lets the API derive one from the errno.
 * Thread rule: any thread; the struct belongs to the caller.
 */
#pragma once

#include "proto/base/defs.h"

#define ERR_TEXT_MAX 256

struct err {
    int code;                /* enum err_code of proto/api/errors.h, 0 = by errno */
    int errnum;              /* positive errno */
    char text[ERR_TEXT_MAX]; /* names and numbers, no trailing period needed */
};

/* Fills err (when not NULL) and returns -errnum, so that `return err_set(...)` works. */
int err_set(struct err *err, int code, int errnum, const char *fmt, ...) printf_like(4, 5);

/* As err_set, and appends ": <strerror(errnum)>" to the text. */
int err_sys(struct err *err, int code, int errnum, const char *fmt, ...) printf_like(4, 5);

/* Puts "prefix: " before the text; returns -err->errnum (or -EIO if it was never set). */
int err_wrap(struct err *err, const char *fmt, ...) printf_like(2, 3);

/* The errno's symbolic name ("ENOENT"), "E?" for unknown; static storage. */
const char *err_name(int errnum);
