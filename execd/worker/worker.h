/*
 * Processes that serve one request on files with the identity that it asks for (contracts/v1.1.md 1.5).
 *
 * execd executes itself as `execd file-worker` with exactly that uid and gid, the groups of the account, and nothing
 * of execd's own: no capability (root keeps those about files), no environment but HOME, PATH and LANG, "/" as
 * working directory, one end of a socket pair as descriptor WORKER_FD. It speaks HTTP there and ends with the connection.
 * Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"

#define FILE_WORKER_ARG "file-worker"
#define FILE_WORKER_ENTER "enter"
#define WORKER_FD 3
#define WORKER_NS_FD 4
#define WORKERS_MAX 64

struct event_base;
struct worker;

/* *ret_fd is our end, connected, CLOEXEC; the caller's. ERR_TOO_MANY_WORKERS, ERR_NOT_SUPPORTED without the right to
 * change identity. */
struct worker_place {
    uid_t uid;
    gid_t gid;
    int mount_ns; /* entered first; then only what isolated programs may is left. -1 = execd's own; borrowed */
};
int worker_start(struct event_base *base, const struct worker_place *place,
                 struct worker **ret_worker, int *ret_fd, struct err *err) must_check;
/* Our end is closed: it has WORKER_GRACE_MS to take back what was half done, then it is killed. */
#define WORKER_GRACE_MS 60000
void worker_release(struct worker *w);
