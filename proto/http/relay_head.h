/*
 * The heads that a relay writes: every field is decided upon, none is copied blindly. Private to the relay.
 *
 * Thread rule: loop thread only. Source: RFC 9110 section 7.6.1, contracts/v1.1.md 2.8.
 */
#pragma once

#include "proto/http/head.h"
#include "proto/http/relay.h"

/* The request head for the backend: end-to-end fields, forwarding fields, added ones, one framing. */
void relay_head_write_request(struct evbuffer *out, struct http_req *req,
                              const struct relay_options *o, bool upgrade);

/* The backend's end-to-end fields become fields of the response to come. */
void relay_head_pass_fields(struct http_req *req, const struct head *h,
                            const char *location_prefix);

/* What follows the body, "name:value\r\n" each (chunked.h): the end-to-end fields that the head has announced in
 * Trailer become trailers of the response. The text is cut up. */
void relay_head_pass_trailers(struct http_req *req, const struct head *h, char *text);

/* The 101 for the client. */
void relay_head_write_switch(struct evbuffer *out, const struct head *h);
