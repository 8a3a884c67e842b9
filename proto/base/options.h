/*
 * Command-line options as a table: parsing, environment names, and a --help that teaches.
 *
 * Accepts --name value, --name=value, -name value (Go flag style), -s. Parsing stops at "--" or the
 * first positional. Each row names where the value goes; a row with `env` takes the variable when the
 * flag is absent. Thread rule: main, before the loop.
 */
#pragma once

#include "proto/base/err.h"

enum option_kind { OPTION_FLAG, OPTION_STRING, OPTION_CALL };

struct option_row {
    const char *name; /* long name without dashes */
    char letter;      /* one-letter form, 0 = none */
    enum option_kind kind;
    const char *env;   /* environment variable of the same meaning, NULL = none */
    const char *arg;   /* shown as --name ARG; NULL for flags */
    const char *help;  /* one or more sentences, wrapped by the printer */
    const char *group; /* heading under which --help lists it; NULL = same as the row above */
    size_t offset;     /* where in `target`: bool for FLAG, const char * for STRING (borrowed) */
    int (*call)(void *target, const char *value,
                struct err *err); /* OPTION_CALL: repeatable rows */
};

/* Fills target; *ret_next is the index of the first positional. -EINVAL with a teaching text
 * (unknown options get the nearest known name). */
int options_parse(const struct option_row *rows, size_t n_rows, int argc, char *const *argv,
                  void *target, int *ret_next, struct err *err) must_check;
/* For a value that was found wrong later: where err's text begins with "--NAME: " and that value came from the
 * environment, the variable is named instead. `target` must still hold the values of options_parse. */
void options_name_source(const struct option_row *rows, size_t n_rows, const void *target,
                         struct err *err);
void options_print_help(const struct option_row *rows, size_t n_rows, int out_fd);

/* The row name with the smallest edit distance (≤ 3), NULL if none is near: "did you mean". */
const char *options_nearest(const char *word, const char *const *names, size_t n_names);
