/*
 * Sandboxes as ms-enclave's clients ask for them: its configuration as a sandbox of ours (contracts/jupyter.md 3.4, 3.5).
 *
 * The request is kept with the sandbox, in extensions that start with "enclave.": they say to which of the two APIs it
 * belongs, and survive a restart. What this runtime cannot give is refused with the reason. Pure. Thread rule: loop
 * thread only.
 */
#pragma once

#include <jansson.h>

#include "server/model/sandbox.h"

#define ENCLAVE_LIFETIME_S (48 * 3600) /* as ms-enclave's own server */

struct enclave_defaults {
    const char *
        image; /* for requests that name none, or one of the names that ms-enclave takes by default */
    int64_t lifetime_max_s; /* of any sandbox; 0 = none */
};

/* body: a JSON object, null or nothing. The spec's strings live in the arena. */
int enclave_config_decode(const char *type, struct slice body,
                          const struct enclave_defaults *defaults, struct arena *arena,
                          struct sandbox_spec *ret_spec, struct err *err) must_check;

/* "docker" or "docker_notebook"; NULL: not a sandbox of this API. */
const char *enclave_type(const struct sandbox *sb);
/* New reference, an object. */
json_t *enclave_config_json(const struct sandbox *sb);
/* Is the tool in its tools_config? config: as enclave_config_json answers it. */
bool enclave_has_tool(const json_t *config, const char *tool);
/* Where its tools work; in the arena or constant. NULL: no memory. */
const char *enclave_working_dir(const struct sandbox *sb, struct arena *arena);
