/*
 * What the handlers of isolated sessions share. Thread rule: loop thread only.
 */
#pragma once

#include "execd/api/api.h"

/* The session of the path; NULL: it was answered, *ret is what to return. */
struct isolate_session *isolated_find(struct http_req *req, struct api *api, enum http_result *ret);
json_t *isolated_time(int64_t wall_us); /* new reference */
