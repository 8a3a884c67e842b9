/*
 * The glob dialect of the file search, as a matcher whose cost is pattern length times text length.
 *
 *   *  any run without '/'        **  as a whole segment: any number of segments, none too; elsewhere like *
 *   ?  one character, not '/'     [a-z] [^x] [!x]  one character of a set, never '/'     \c  the character c
 *   {a,b}  alternatives, nested   !(a|b)  at the beginning of a segment: a run without '/' that is none of these
 *
 * Hidden names are like others; a byte that is no UTF-8 counts as one character. Bad: '[' without end, "[]", a last
 * '\', '!' without '(', '!(' inside a segment or inside another one, '{' or '!(' without end, more than GLOB_DEPTH_MAX
 * levels, more than GLOB_PATTERN_MAX bytes. Alternatives are walked side by side as sets of positions, never one
 * after the other, so that no pattern makes a text expensive (hardening F16).
 * Pure. Thread rule: any thread; a compiled glob is constant. Source: contracts/execd.md 3.8.
 */
#pragma once

#include "proto/base/err.h"

#define GLOB_PATTERN_MAX 4096 /* bytes */
#define GLOB_TEXT_MAX 4096    /* bytes: PATH_MAX; a longer text never matches */
#define GLOB_DEPTH_MAX 16     /* levels of braces and negations */

struct glob;

/* -EINVAL (bad pattern, position in err), -E2BIG (too long), -ENOMEM. */
int glob_new(const char *pattern, struct glob **ret_glob, struct err *err) must_check;
void glob_free(struct glob *g); /* NULL is fine */
bool glob_match(const struct glob *g, const char *text);
/* The pattern speaks of paths (it holds a '/'), not of last components. */
bool glob_has_slash(const struct glob *g);

static inline void guard_glob(struct glob **g)
{
    glob_free(*g);
}
#define cleanup_glob __attribute__((cleanup(guard_glob)))
