/*
 * How handlers answer with the stored output of a background run.
 *
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/api/api.h"

/* What is stored from cursor (at most its size) on; the field `header` says where the next page begins. */
enum http_result api_log_page(struct http_req *req, const struct spool *log, uint64_t cursor,
                              const char *header);
