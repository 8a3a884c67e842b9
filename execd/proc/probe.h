/*
 * Which namespaces and mounts a process of this sandbox may make: tried in a process of its own that ends at once.
 *
 * Thread rule: loop thread only; takes about a millisecond, and at most PROBE_DEADLINE_MS.
 */
#pragma once

#include "proto/base/err.h"

#define PROBE_DEADLINE_MS 500

struct probe {
    bool user_namespace; /* without any privilege */
    bool mount_namespace, pid_namespace,
        network_namespace; /* by privilege or inside a user namespace */
    bool overlay;          /* an overlay can be mounted there */
};
/* The answer of the first success is kept. */
int probe_namespaces(struct probe *ret_probe, struct err *err) must_check;
