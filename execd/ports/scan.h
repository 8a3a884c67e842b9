/*
 * Who listens on TCP in this network namespace, and which process holds the socket.
 *
 * Listening sockets come from the kernel's socket diagnostics (NETLINK_SOCK_DIAG), or from /proc/net/tcp and tcp6 where
 * those are forbidden; the holder is found by its descriptors in /proc. All of it is bounded: PORTS_MAX sockets,
 * PORTS_FDS_MAX descriptors looked at. A holder that may not be looked into has pid 0.
 * Blocks: for the worker pool. Thread rule: any thread. Source: sock_diag(7), proc(5).
 */
#pragma once

#include <sys/types.h>

#include "proto/base/defs.h"

#define PORTS_MAX 1024
#define PORTS_FDS_MAX 100000

struct port_entry {
    uint16_t port;
    bool v6;
    char address[46]; /* as text, "::" and "0.0.0.0" for every address */
    uint32_t uid;
    uint64_t inode;
    pid_t pid;     /* 0 = unknown */
    char comm[16]; /* any bytes */
};

struct port_list {
    struct port_entry items[PORTS_MAX]; /* by port, then address */
    size_t n;
    bool truncated;    /* more sockets than PORTS_MAX, or not every holder was looked for */
    bool from_netlink; /* else /proc/net */
};

int port_entry_compare(const struct port_entry *a,
                       const struct port_entry *b); /* the lists' order */

/* 0, or -errno when neither source could be read; then the list is empty. */
int ports_scan(struct port_list *ret_list) must_check;

/* Pure parsers, for the tests and the fuzzer. */
/* One datagram of a SOCK_DIAG dump; true when the dump goes on, false at its end or after an error, told by *ret_error
 * (0 or -errno). Entries are added to the list. */
bool ports_parse_diag(const void *data, size_t len, struct port_list *list, int *ret_error);
/* The text of /proc/net/tcp or tcp6: sockets in state LISTEN are added. */
void ports_parse_proc(const char *text, bool v6, struct port_list *list);
