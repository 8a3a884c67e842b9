/*
 * How a code context is told to clients.
 *
 * Thread rule: loop thread only.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct code_context;

/* NULL without memory. */
json_t *api_context_json(const struct code_context *ctx);
