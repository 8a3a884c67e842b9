/*
 * A request that a process of its own carries out: see execd/worker/worker.h.
 *
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/api/api.h"
#include "execd/worker/worker.h"

/* Starts the worker and passes the request on as `target` (path and query). */
enum http_result worker_relay(struct http_req *req, const struct api *api,
                              const struct worker_place *place, const char *target);
