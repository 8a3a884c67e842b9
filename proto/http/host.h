/*
 * Who a request believes to talk to: its Host.
 *
 * A page of somebody else can reach a listener on loopback by a name of its own that resolves to 127.0.0.1 (DNS
 * rebinding); to the browser that is one origin, and no rule about origins helps. What is served without a token is
 * therefore served under names only that nobody else can own. Pure. Thread rule: any thread.
 */
#pragma once

#include "proto/base/defs.h"
#include "proto/base/err.h"

struct http_req;

/* host: NAME, IPV4 or [IPV6], each with or without :PORT. localhost, names below it, addresses, and the hosts of the
 * allowed origins (NULL-terminated, "https://name:port", or just "name:port"; "*" is all; NULL: none) are trusted,
 * whatever the port. */
bool host_is_trusted(const char *host, const char *const *origins);

/* Without a Host, as programs of HTTP/1.0 send it, and over a Unix socket no browser asks.
 * -EACCES with ERR_HOST_NOT_ALLOWED (403). */
int host_check(const struct http_req *req, const char *const *origins, struct err *err) must_check;
