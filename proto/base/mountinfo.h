/*
 * The lines of /proc/self/mountinfo. Pure. Any thread. Source: proc(5).
 */
#pragma once

#include "proto/base/defs.h"

/* id parent major:minor root point options [optional...] - type source super-options */
struct mountinfo_line {
    const char *field[6], *field_end[6]; /* up to the options */
    const char *type, *type_end, *super, *super_end;
};

#define MOUNTINFO_ROOT 3
#define MOUNTINFO_POINT 4

/* False for what is no such line; the answer points into it. */
bool mountinfo_split(const char *line, const char *end, struct mountinfo_line *ret_line);

/* One field as a path, its escapes resolved; out has PATH_MAX bytes. -ENAMETOOLONG. */
int mountinfo_copy(const char *from, const char *end, char *out) must_check;
