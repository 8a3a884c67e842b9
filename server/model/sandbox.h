/*
 * A sandbox as the control plane knows it, and the table of its legal transitions.
 *
 * The entity is plain data: the service owns the live objects, the store copies them. Times are wall-clock
 * microseconds for display; expiry is enforced on CLOCK_BOOTTIME by service/expiry. Every (state, operation)
 * pair has one defined answer (hardening J13). Thread rule: any thread (values).
 */
#pragma once

#include "proto/base/err.h"
#include "proto/base/ids.h"
#include "proto/json/jfield.h"

enum sandbox_state {
    SANDBOX_PENDING,
    SANDBOX_RUNNING,
    SANDBOX_PAUSED,
    SANDBOX_STOPPING,
    SANDBOX_TERMINATED,
    SANDBOX_FAILED,
    SANDBOX_STATE_MAX
};
enum sandbox_op {
    SANDBOX_OP_STARTED,
    SANDBOX_OP_EXITED,
    SANDBOX_OP_BROKE,
    SANDBOX_OP_PAUSE,
    SANDBOX_OP_RESUME,
    SANDBOX_OP_DELETE,
    SANDBOX_OP_RENEW,
    SANDBOX_OP_MAX
};

/* "Running"; parse is case-insensitive, -EINVAL. */
const char *sandbox_state_name(enum sandbox_state s);
int sandbox_state_parse(const char *text, enum sandbox_state *ret_state) must_check;
/* New state, or -EINVAL when the operation is not allowed in that state. */
int sandbox_transition(enum sandbox_state from, enum sandbox_op op,
                       enum sandbox_state *ret_to) must_check;

/* What a create request asks for, validated. All memory in the sandbox's arena. */
struct sandbox_spec {
    const char *image; /* reference as requested */
    struct jstrings entrypoint;
    struct jmap env, metadata, extensions;
    struct jmap resource_limits; /* as requested, echoed nowhere but kept for diagnostics */
    uint64_t memory_bytes;       /* 0 = no limit asked */
    uint64_t millicpu;
    uint64_t pids;
    int64_t timeout_s; /* 0 = manual clean-up */
};

struct sandbox {
    char id[ID_UUID_LEN + 1];
    struct arena arena; /* owns everything below */
    struct sandbox_spec spec;
    enum sandbox_state state;
    const char *reason, *message; /* status.reason, status.message */
    int64_t created_us, transition_us;
    int64_t expires_us; /* wall clock, 0 = never */
    int64_t
        expires_boot_ms; /* the same instant on CLOCK_BOOTTIME of boot_id; this one is enforced */
    const char *boot_id; /* the boot that expires_boot_ms counts from */
    const char *runtime; /* "native" */
    const char *image_digest;
    uint32_t epoch; /* input of the token: grows when it must change */
    const char
        *runtime_data; /* JSON text of the runtime: pid, start time, cgroup and folder names */
};
