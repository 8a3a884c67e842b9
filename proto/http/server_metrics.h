/*
 * What an HTTP server knows of its own work, as metric families: requests by route and status, their times, bytes,
 * connections, streams. The same rows for both programs, below their own prefix.
 *
 * Counting costs a few additions per request. A route's class, for the times, is the first literal segment of its
 * pattern ("/v1" aside). Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/metrics_text.h"
#include "proto/http/server.h"

/* prefix: "execd" gives execd_http_requests_total and so on. */
void http_server_write_metrics(const struct http_server *server, const char *prefix,
                               struct strbuf *out, enum metric_format format);
