/*
 * What the first process of an isolated session is to set up, as data.
 *
 * execd writes it as JSON to the session's control socket (a length of four bytes in host order, then the text), and
 * the new process (init.h) reads it there. Every path was checked before: absolute, clean, existing. Mounts are
 * sorted so that what lies inside another comes later.
 * Thread rule: any thread; all pointers live in the caller's arena.
 */
#pragma once

#include "proto/json/jfield.h"

#define ISOLATE_MOUNTS_MAX 16
/* What fits into a socket's buffer at once, so that nobody waits while it is written. */
#define ISOLATE_PLAN_MAX (96 * 1024)
/* The descriptor of the control socket in the new process. */
#define ISOLATE_CONTROL_FD 8
/* The hidden first argument that makes execd such a process. */
#define ISOLATE_INIT_ARG "isolate-init"

struct isolate_mount {
    const char *kind;   /* "overlay", "rw", "ro" */
    const char *path;   /* where it appears */
    const char *source; /* what appears there; of an overlay: its lower layer */
    const char
        *upper; /* overlay: a directory that holds "upper" and "work"; NULL = one in memory */
};

struct isolate_plan {
    bool probe;  /* set everything up, say how it went, end */
    bool strict; /* /tmp is the session's own */
    bool share_net;
    bool userns; /* uid and gid are names for execd's own, in a user namespace of the session */
    bool has_uid;
    uint32_t uid, gid;
    struct jstrings groups; /* decimal */
    struct jobjects mounts; /* struct isolate_mount */
    bool env_allow; /* env_keys are what is kept of the environment, else what is taken out */
    struct jstrings env_keys;
};

/* What the new process answers: one line of JSON on the control socket. */
struct isolate_reply {
    bool ok;
    const char *message; /* why not; or what is weaker than it could be; may be NULL */
    bool own_proc;       /* /proc shows the session's processes only */
    bool seccomp;
    bool userns;      /* of a probe: user namespaces can be made */
    int64_t landlock; /* ABI, 0 = none */
};

/* malloc'ed; NULL when out of memory. */
char *isolate_plan_encode(const struct isolate_plan *plan, size_t *ret_len);
int isolate_plan_decode(const char *text, size_t len, struct arena *arena,
                        struct isolate_plan *ret_plan, struct err *err) must_check;
char *isolate_reply_encode(const struct isolate_reply *reply, size_t *ret_len);
int isolate_reply_decode(const char *text, size_t len, struct arena *arena,
                         struct isolate_reply *ret_reply, struct err *err) must_check;
