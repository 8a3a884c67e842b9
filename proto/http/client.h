/*
 * A minimal asynchronous HTTP client for one small request over a Unix socket or loopback TCP.
 *
 * For readiness probes and control calls of our own programs (GET /ping of an execd): one connection per call,
 * response head ≤ 16 KiB, body ≤ max_body bytes, no redirects. Thread rule: loop thread only.
 */
#pragma once

#include "proto/http/relay.h"

struct http_call;

/* status 0 = failed before a response; then err is set. body is borrowed for the time of the callback. */
typedef void (*http_call_fn)(void *arg, int status, struct slice body, const struct err *err);

/* headers: name/value pairs closed by {NULL, NULL}, may be NULL. on_done runs exactly once, posted, unless cancelled. */
int http_call_start(struct event_base *base, const struct relay_target *target, const char *method,
                    const char *path, const char *const (*headers)[2], struct slice body,
                    size_t max_body, int timeout_ms, http_call_fn on_done, void *arg,
                    struct http_call **ret_call) must_check;
void http_call_cancel(struct http_call *call); /* NULL is fine; no callback afterwards */
