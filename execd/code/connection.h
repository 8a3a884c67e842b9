/*
 * A kernel's private folder: its connection file and its five sockets.
 *
 * <runtime_dir>/<random>/ with mode 0700 holds kernel.json (mode 0600, with a key made for this kernel alone) and
 * the sockets s-1..s-5 that the kernel binds. No ports: nothing to guess, to race for or to listen in on (design
 * decision 9). Only a kernel that cannot use such sockets gets ports of the loopback instead (tcp_ports.h); then its key
 * alone keeps others from talking to it, and whoever shares the loopback can listen to what it publishes.
 * The folder is removed with everything in it, because no kernel unlinks its sockets itself.
 * Thread rule: loop thread only. Source: contracts/jupyter.md 1.1, 1.2.
 */
#pragma once

#include "execd/code/jmsg.h"
#include "execd/code/kernelspec.h"
#include "execd/code/tcp_ports.h"

/* The channels of a kernel; the value plus one is the "port" in the connection file. */
enum kernel_channel {
    CHANNEL_SHELL,
    CHANNEL_IOPUB,
    CHANNEL_STDIN,
    CHANNEL_CONTROL,
    CHANNEL_HEARTBEAT,
    CHANNEL_MAX
};

#define CONNECTION_PATH_MAX 100 /* of a socket: sun_path holds 108 */
#define KERNEL_DIR_MAX 70       /* bytes of the folder that holds the kernels' folders */

struct connection {
    char dir[CONNECTION_PATH_MAX];
    char file[CONNECTION_PATH_MAX];
    char separator;         /* of the names of the sockets */
    struct tcp_ports ports; /* owned; none: file sockets */
};

/* Where kernels' folders go: `configured`, or when that is NULL /run/execd-kernels, or /tmp/execd-UID where /run cannot be
 * written. Makes it (0700) when it is missing; refuses one that others could use. */
int connection_choose(const char *configured, char ret_dir[CONNECTION_PATH_MAX],
                      struct err *err) must_check;
/* Makes folder and file for a kernel of this spec. Nothing is left behind on failure. */
int connection_make(const char *runtime_dir, const struct kernelspec *spec,
                    const struct jmsg_session *session, struct connection *ret_connection,
                    struct err *err) must_check;
/* "ipc:///.../s-1", "tcp://127.0.0.1:40001" */
void connection_address(const struct connection *connection, enum kernel_channel channel, char *buf,
                        size_t size);
void connection_remove(struct connection *connection); /* legal on a zeroed struct */
