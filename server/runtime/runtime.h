/*
 * A runtime: starts, finds, pauses and removes sandboxes. One vtable; native/ implements it.
 *
 * Calls are asynchronous where they may take longer than a few milliseconds: the completion is posted on the loop
 * exactly once. A runtime keeps no durable state of its own: what it needs to find a sandbox again after a crash
 * is in `runtime_data`, which the service stores before `start` is answered, and in what it can list.
 * Thread rule: loop thread only. Source: design.md 1, contracts/server.md 3.
 */
#pragma once

#include "proto/http/relay.h"
#include "server/model/sandbox.h"

struct event_base;
struct runtime;

struct runtime_start {
    const struct sandbox *sandbox; /* borrowed until done */
    const char *token_sha256;      /* hex; the verifier for execd */
};

/* err NULL on success; data = runtime_data to store (borrowed for the call). */
typedef void (*runtime_done_fn)(void *arg, const struct err *err, const char *data);

struct runtime_exit {
    bool known; /* the exit code or signal is known */
    bool signalled;
    int code;
    bool oom;
};

struct runtime_found { /* one sandbox that the runtime sees although the store may not */
    const char *id;
    bool running;
};

struct runtime_ops {
    const char *name;
    /* Creates and starts; done when execd accepts connections, or with a full clean-up behind it. */
    void (*start)(struct runtime *rt, const struct runtime_start *req, runtime_done_fn done,
                  void *arg);
    /* Kills and removes everything of the sandbox; idempotent. */
    void (*remove)(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                   void *arg);
    /* After a restart of the server: takes the sandbox up again. 0 = it runs; -ESRCH = it is gone (exit tells). */
    int (*adopt)(struct runtime *rt, const struct sandbox *sb, struct runtime_exit *ret_exit,
                 struct err *err);
    void (*pause)(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                  void *arg);
    void (*resume)(struct runtime *rt, const char *id, const char *data, runtime_done_fn done,
                   void *arg);
    /* Where execd of this sandbox listens. */
    int (*execd_target)(struct runtime *rt, const struct sandbox *sb,
                        struct relay_target *ret_target, struct arena *arena);
    /* Everything on this host that bears our owner mark, for reconciliation. */
    int (*each)(struct runtime *rt, int (*fn)(void *arg, const struct runtime_found *found),
                void *arg, struct err *err);
    /* Can these limits be applied here? -EOPNOTSUPP with the reason (a limit that cannot be applied is refused). */
    int (*check_limits)(struct runtime *rt, const struct sandbox_spec *spec, struct err *err);
    /* Resolves an image reference; digest in the arena. -ENOENT with a teaching text. */
    int (*resolve_image)(struct runtime *rt, const char *image, struct arena *arena,
                         const char **ret_digest, struct err *err);
    void (*free)(struct runtime *rt);
};

struct runtime {
    const struct runtime_ops *ops;
    struct event_base *base;
    /* The service's ear: a sandbox ended by itself. Posted. */
    void (*on_exit)(void *arg, const char *id, const struct runtime_exit *exit);
    void *arg;
};
