/*
 * Server-sent event framing, both dialects, as bytes into an evbuffer.
 *
 * RAW (default on the POST streams): one compact JSON object, then a blank line (contracts/execd.md 2.1).
 * STANDARD (opt-in: query `sse=standard` or header `X-Execd-Sse: standard`): `id:`, `event:`, `data:` lines
 * (WHATWG HTML 9.2). The JSON text never holds a line break, so neither framing can be forged by output.
 * Thread rule: any thread.
 */
#pragma once

#include "proto/base/defs.h"

struct evbuffer;
struct http_req;

enum sse_framing { SSE_RAW, SSE_STANDARD };

/* By the query `sse` or the header X-Execd-Sse: raw, standard, or else `otherwise`. */
enum sse_framing sse_choose(struct http_req *req, enum sse_framing otherwise);
/* Sets the four headers of contracts/execd.md 2.1 on the response to come. */
void sse_headers(struct http_req *req);
/* id may be NULL, event too: such a frame is a plain message (`data:` only). */
void sse_frame(struct evbuffer *out, enum sse_framing framing, const char *id, const char *event,
               const char *json, size_t json_len);
