/*
 * The listening sockets of an HTTP server and its accept loop. Private to server.c.
 *
 * TCP sockets are dual-stack where an IPv6 wildcard is asked for and never SO_REUSEPORT, so nobody inside can
 * bind beside us (hardening.md M14). Running out of descriptors is met by a spare one: the connection is
 * accepted with it and closed at once, so the backlog never spins the loop. Thread rule: loop thread only.
 */
#pragma once

struct http_server;

int listen_init(struct http_server *server) __attribute__((warn_unused_result));
void listen_accept_waiting(struct http_server *server); /* who has connected so far */
void listen_stop(struct http_server *server); /* closes all listeners, removes their socket files */
void listen_done(struct http_server *server); /* legal on a half-built server */
