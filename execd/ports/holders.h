/*
 * Which process holds a socket: descriptors in /proc/PID/fd that name its inode.
 *
 * The process that comes first in /proc wins where several share a socket. Looks at no more than PORTS_FDS_MAX
 * descriptors, then marks the list as truncated. Blocks. Thread rule: any thread. Source: proc(5).
 */
#pragma once

#include "execd/ports/scan.h"

void holders_find(struct port_list *list); /* fills pid and comm */
