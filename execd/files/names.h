/*
 * A sorted batch of file names within a number of bytes: when more are added, only the lowest stay.
 *
 * Each name carries one byte of the caller's (its kind). Pure. Thread rule: the owner's thread.
 */
#pragma once

#include "proto/base/defs.h"

struct names {
    char *bytes; /* owned: tag, name, NUL, ... */
    size_t used, cap;
    uint32_t *offsets; /* owned: of the tags */
    size_t n, n_cap;
    size_t max;        /* bytes of names and offsets; the arrays grow to less than twice of it */
    bool dropped;      /* some names were above the highest that is kept */
    char ceiling[256]; /* names above it are not taken; "" = none yet */
};

void names_init(struct names *names, size_t max);
void names_done(struct names *names); /* legal on a zeroed struct */
/* -ENOMEM; the name is then missing. A name over 255 bytes is -ENAMETOOLONG. */
int names_add(struct names *names, unsigned char tag, const char *name) must_check;
void names_sort(struct names *names); /* by bytes; before names_at is used */
const char *names_at(const struct names *names, size_t i);
unsigned char names_tag(const struct names *names, size_t i);
size_t names_bytes(const struct names *names);
