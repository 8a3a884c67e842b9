/*
 * Kernelspecs as Jupyter's REST interface shows them: names, models, and the files that belong to a spec.
 *
 * Knows nothing of HTTP but the addresses of those files. Thread rule: loop thread only; small blocking reads.
 * Source: contracts/jupyter.md 2.1, 5.3.
 */
#pragma once

#include <jansson.h>

#include "execd/code/kernelspec.h"

#define SPECS_FILE_MAX (1u << 20) /* bytes of a logo */

/* The spec that a client means: by its name in any case; "python" is another name for "python3"; NULL or "" is the
 * default. NULL when there is none. `wanted` (may be NULL) names the default. */
const struct kernelspec *specs_find(const struct kernelspecs *specs, const char *name,
                                    const char *wanted);
/* `wanted` if it is there, else python3, else the first spec for Python, else the first. NULL: there is none. */
const struct kernelspec *specs_default(const struct kernelspecs *specs, const char *wanted);

/* {"name", "spec", "resources"}. New reference; NULL: no memory, and so below. */
json_t *specs_model(const struct kernelspec *spec);
/* {"default", "kernelspecs"}. New reference. */
json_t *specs_list(const struct kernelspecs *specs, const char *wanted);

/* A file that belongs to a spec, such as its logo: *ret_data is malloc'ed. ERR_FILE_NOT_FOUND,
 * ERR_FILE_TOO_LARGE, ERR_OUT_OF_MEMORY. */
int specs_read_file(const struct kernelspec *spec, const char *file, char **ret_data,
                    size_t *ret_len, struct err *err) must_check;
const char *specs_file_type(const char *file); /* media type by the name's end */
