/*
 * Which shell runs commands, sessions and terminals: bash, else sh.
 *
 * Looked for in the child's PATH, then where they usually are (contracts/execd.md 3.3). Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"

struct arena;

struct shell {
    const char *file; /* absolute path */
    const char *name; /* "bash" or "sh": argv[0], and what options it takes; constant */
};

/* The path lives in the arena. -ENOENT when the image has neither. */
int shell_find(const char *const *envp, const char *cwd, struct arena *arena,
               struct shell *ret_shell, struct err *err) must_check;
