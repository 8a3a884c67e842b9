/*
 * The built-in runtime: namespaces, cgroups, overlayfs, seccomp and capabilities, without any daemon.
 *
 * Layout on disk, all below state_dir (0700):
 *   images/            the image store (images.h)
 *   sandboxes/<id>/    upper/ work/ merged mount points, io/execd.sock, state.json
 * Source: design decisions 11, 12, 19; hardening.md L and 4. Thread rule: loop thread only.
 */
#pragma once

#include "server/runtime/runtime.h"

struct native_config {
    const char *state_dir;
    const char *execd_path;    /* the static execd binary, bind-mounted read-only */
    uint32_t uid_base;         /* first host uid of the user namespace (100000) */
    uint32_t uid_count;        /* 65536 */
    const char *cgroup_parent; /* name of our group below the server's own cgroup: "execd" */
    int start_ms;              /* budget until execd accepts connections: 10,000 */
    uint64_t default_pids;     /* 4096 */
    uint64_t tmp_bytes;        /* size of the tmpfs on /dev/shm and /run: 64 MiB */
    const char *owner;         /* this server's id: marks what is ours */
};

int native_runtime_new(struct event_base *base, const struct native_config *config,
                       struct runtime **ret_runtime, struct err *err) must_check;
