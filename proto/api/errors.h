/*
 * The error table as an enum and as rows: code on the wire, HTTP status, short family code, default text.
 *
 * Source of the rows: errors.def. Domain modules put an enum value into `struct err`; only the HTTP
 * layer turns it into a status. Thread rule: constant data, any thread.
 */
#pragma once

#include "proto/base/err.h"

enum err_code {
    ERR_NONE,
#define ERR(name, wire, status, family, text) ERR_##name,
#include "proto/api/errors.def"
#undef ERR
    ERR_CODE_MAX,
};

struct err_row {
    const char *name, *wire;
    int status;
    const char *family, *text;
};

/* The row of a code; of ERR_INTERNAL for anything out of range. */
const struct err_row *err_row(int code);

/* The row for an error: its code, or one derived from its errno (ENOENT → FILE_NOT_FOUND, ENOSPC →
 * NO_SPACE, ENOMEM → OUT_OF_MEMORY, EACCES/EPERM → FILE_ACCESS, else INTERNAL). */
const struct err_row *err_classify(const struct err *err);
