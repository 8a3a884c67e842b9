/*
 * The languages of POST /run_code, as data: where the code goes, how it is compiled, how it is run.
 *
 * A language may have several rows; the first one whose programs are there is taken. Names are those of SandboxFusion
 * (contracts/jupyter.md 3.5), compared without regard to case. Constant data; thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"

struct arena;

#define LANGUAGE_WORDS 10

struct language {
    const char *name;
    const char *file;                    /* the code is written to it, in a folder of its own */
    const char *compile[LANGUAGE_WORDS]; /* program and arguments; empty: nothing to compile */
    const char *run[LANGUAGE_WORDS];
    bool
        wide; /* its runtime reserves far more address space than it uses: no limit on that can be set */
};

extern const struct language languages[];
extern const size_t n_languages;

/* The row to use, by the PATH in envp. NULL when no row of that name can be used here: then *ret_missing is the program
 * that the first one lacks, or NULL when there is no such language at all. */
const struct language *language_find(const char *name, const char *const *envp, struct arena *arena,
                                     const char **ret_missing);

/* "python, bash, ...": each name once. In the arena; NULL when there is no memory. */
const char *language_names(struct arena *arena);
