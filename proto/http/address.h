/*
 * Where to listen, as text: "ADDRESS:PORT", "[IPV6]:PORT", "localhost:PORT", "unix:PATH".
 *
 * Programs check what they were given with this before anything else is said about it. No name is looked up:
 * `localhost` is 127.0.0.1. Thread rule: any thread.
 */
#pragma once

#include <sys/socket.h>

#include "proto/base/err.h"

struct http_address {
    struct sockaddr_storage sa;
    socklen_t len;
    const char *unix_path; /* borrowed from the text; NULL for TCP */
};

/* -EINVAL with a text that teaches. */
int http_address_parse(const char *where, struct http_address *ret_address,
                       struct err *err) must_check;

/* Reached from this machine alone: loopback, or a Unix socket. */
bool http_address_is_local(const struct http_address *address);
