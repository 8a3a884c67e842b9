/*
 * The body of POST /v1/isolated/session: decoded, checked, and turned into the plan of a session.
 *
 * Everything that can be told beforehand is refused here, so that the new process finds nothing but surprises: paths
 * must be absolute, clean, unique and there; extra_writable and the sources of binds must lie in the allowed directories,
 * after symbolic links are resolved. The overlays need not, whatever their mode: they say what the session works on.
 * Thread rule: loop thread. Strings live in the caller's arena. Source: contracts/v1.1.md 1.6.
 */
#pragma once

#include "execd/isolate/plan.h"

struct isolate_overlay {
    const char *path, *mode; /* "overlay", "rw", "ro" */
    bool persist, has_persist;
};

struct isolate_bind {
    const char *source, *dest;
    bool readonly;
};

struct isolate_env {
    const char *mode; /* "deny", "allow" */
    struct jstrings keys;
};

struct isolate_request {
    const char *profile; /* "strict", "balanced" */
    bool has_workspace;
    struct isolate_overlay workspace;
    struct jobjects
        overlays; /* struct isolate_overlay; the workspace is its only row when it was given */
    struct jstrings extra_writable;
    struct jobjects binds; /* struct isolate_bind */
    bool share_net, has_share_net;
    struct isolate_env env_passthrough;
    bool has_uid, has_gid;
    uint32_t uid, gid;
    const char *uid_mode; /* "setpriv", "userns" */
    int64_t idle_timeout_seconds;
};

int isolate_request_decode(const char *text, size_t len, struct arena *arena,
                           struct isolate_request *ret_request, struct err *err) must_check;

/* allowed: directories; NULL-terminated. store: where the upper layers of the session will be; every persistent
 * overlay gets a directory "store/N" of its own, which the caller makes. */
int isolate_request_plan(const struct isolate_request *request, const char *const *allowed,
                         const char *store, struct arena *arena, struct isolate_plan *ret_plan,
                         struct err *err) must_check;

/* The creation parameters as GET shows them; new reference. */
json_t *isolate_request_echo(const struct isolate_request *request);
