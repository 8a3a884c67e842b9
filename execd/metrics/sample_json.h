/*
 * A sample as the object that GET /metrics and GET /metrics/watch answer.
 *
 * Thread rule: any thread. Source: contracts/execd.md 1.12.
 */
#pragma once

#include <jansson.h>

#include "execd/metrics/sampler.h"

json_t *sample_to_json(const struct sample *s); /* new reference; NULL without memory */
