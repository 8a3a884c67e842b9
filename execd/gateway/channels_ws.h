/*
 * A WebSocket on a kernel's channels: its frames become messages of a client (channels.h), the client's messages frames.
 *
 * Subprotocol v1.kernel.websocket.jupyter.org when it is offered, else the legacy framing. Frames that cannot be
 * understood close the socket with the reason: 1007 (no valid frame, JSON or UTF-8), 1008 (no message that a client may
 * send), 1009 (over CHANNELS_MESSAGE_MAX). Ends of ours: 1000 when the kernel was deleted or another connection has
 * taken the client's place, 1008 when the client reads too slowly. A ping after 30 s of silence, the end after 90 s.
 * Thread rule: loop thread only. Source: contracts/jupyter.md 2.7.
 */
#pragma once

#include "execd/gateway/channels.h"

struct http_req;

#define CHANNELS_MESSAGE_MAX (10u << 20)

/* Upgrades the request, whose handshake has been checked, and attaches it to the kernel. With options->last_seq legacy
 * frames carry the key "seq". On success the request is over. */
int channels_ws_start(struct http_req *req, struct channels *channels, struct code_context *ctx,
                      const struct channels_options *options, struct err *err) must_check;
