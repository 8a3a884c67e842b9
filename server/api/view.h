/*
 * Sandboxes as clients see them: JSON with null fields left out (contracts/server.md 0.7, 1.9, v1.1.md 2.3).
 * Pure. Thread rule: any thread.
 */
#pragma once

#include <jansson.h>

#include "server/model/sandbox.h"

/* New reference; NULL when memory is exhausted. with_image: the resource; without: the answer to a create. */
json_t *view_sandbox(const struct sandbox *sb, bool with_image);
