/*
 * Kernels as Jupyter's REST interface shows them: each is a code context, with the same id and the same limits.
 *
 * Knows nothing of HTTP. Thread rule: loop thread only; small blocking looks at folders.
 * Source: contracts/jupyter.md 2.2 to 2.4.
 */
#pragma once

#include <jansson.h>
#include <limits.h>

#include "execd/code/context.h"

struct kernels_config {
    const char *root;         /* what paths are relative to; absolute */
    const char *default_spec; /* name; NULL = chosen */
};

/* What a client asks for; every field may be NULL or empty. */
struct kernels_request {
    const char *name; /* of a kernelspec; NULL: the default */
    const char *path; /* below the root: the kernel starts in its nearest folder */
    const char *kernel_id;
    struct jmap env; /* KERNEL_ID and KERNEL_WORKING_DIR mean something to us too */
};

/* Starts a kernel; it is there at once and answers later. A kernel_id that is in use stands for the kernel that has it.
 * Strings that the start needs go to the arena. Errors of code_context_create; ERR_KERNELSPEC_NOT_FOUND. */
int kernels_start(struct code_manager *m, const struct kernels_config *config,
                  const struct kernels_request *request, struct arena *arena,
                  struct code_context **ret_ctx, struct err *err) must_check;

/* A folder to start in: `path` itself when it is an absolute one that exists, else the nearest that does above root/path. */
int kernels_folder(const struct kernels_config *config, const char *path, char out[PATH_MAX],
                   struct err *err) must_check;

/* {"id", "name", "last_activity", "execution_state", "connections"}. New references; NULL: no memory. */
json_t *kernels_model(const struct code_context *ctx);
json_t *kernels_list(struct code_manager *m);

/* "2026-11-21T00:27:24.304426Z": clients need the fraction. buf has CLOCK_RFC3339_MAX bytes. */
void kernels_format_time(int64_t wall_us, char *buf);
