/*
 * Character classes of HTTP fields and the walk over comma-separated lists.
 *
 * Pure. Thread rule: any thread. Source: RFC 9110 section 5.6.
 */
#pragma once

#include "proto/base/defs.h"

extern const unsigned char
    token_classes[256]; /* private: bit 0 = tchar, bit 1 = field value byte */

static inline bool token_is_char(unsigned char c)
{
    return token_classes[c] & 1;
}

/* VCHAR, obs-text, blank or tab: never CR, LF, NUL or another control byte. */
static inline bool token_is_value(unsigned char c)
{
    return token_classes[c] & 2;
}

/* Next element of a list, trimmed, empty ones skipped; *list moves on. false at the end. */
bool token_next(const char **list, struct slice *ret_item);

/* Does the list hold this token (case-insensitive)? */
bool token_list_has(const char *list, const char *token);

bool token_eq(struct slice item, const char *token); /* case-insensitive */
