/*
 * Loopback ports for a kernel that cannot use file sockets.
 *
 * Each port is bound here, never listened on, and kept bound for as long as the kernel lives: nobody is given it by
 * chance meanwhile, neither as a free port nor as the near end of a connection, and no client connects to itself. The
 * kernel binds it a second time and listens; Linux allows that because both sides ask for SO_REUSEADDR, which libzmq,
 * JeroMQ, tokio and Go do of themselves. So there is no moment in which the port is anybody's.
 * Thread rule: any thread. Source: contracts/jupyter.md 1.14; socket(7) SO_REUSEADDR, ip(7).
 */
#pragma once

#include "proto/base/err.h"

#define TCP_PORTS_MAX 5

struct tcp_ports {
    int fds[TCP_PORTS_MAX]; /* owned; the first n */
    uint16_t ports[TCP_PORTS_MAX];
    unsigned n;
};

/* Takes TCP_PORTS_MAX free ports of 127.0.0.1. On failure nothing is held. */
int tcp_ports_take(struct tcp_ports *ports, struct err *err) must_check;
void tcp_ports_release(struct tcp_ports *ports); /* legal on a zeroed struct, and again */
