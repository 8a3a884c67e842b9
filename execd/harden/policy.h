/*
 * What one command may do less than its sandbox: a policy, as data.
 *
 * Decoded from the request field "policy" (hardening 4, "per-command tightening"), turned into parts of a spawn plan by
 * execd/proc/plan_policy.h. A policy only ever takes away. A list that is absent restricts nothing; an empty list
 * allows nothing. ro, rw and exec together describe the file tree: with any of them there, what none of them names is
 * out of reach, the program itself and its libraries too (they need `exec`). What this kernel lacks is an error before
 * anything starts, never left out silently.
 * Lives in the request's arena. Thread rule: any thread. Errors: INVALID_REQUEST_BODY, POLICY_UNSUPPORTED.
 */
#pragma once

#include <sys/resource.h>

#include "proto/base/err.h"
#include "proto/json/jfield.h"

#define POLICY_PATHS_MAX 64 /* in each list */
#define POLICY_PORTS_MAX 64
#define POLICY_RLIMITS_MAX 16

struct arena;

struct policy_ports {
    bool given;
    size_t n;
    uint16_t port[POLICY_PORTS_MAX];
};

struct policy_landlock {
    struct jstrings ro, rw, exec; /* absolute paths: read; read and change; read and execute */
    bool has_ro, has_rw, has_exec;
    struct policy_ports tcp_bind, tcp_connect;
    uint64_t scopes; /* LANDLOCK_SCOPE_*: what no longer reaches out of the command */
};

struct policy_rlimit {
    int resource; /* RLIMIT_* */
    struct rlimit limit;
};

struct policy {
    bool given; /* false: the rest is zero, the command gets what every command gets */
    struct policy_landlock landlock;
    bool has_landlock;
    bool no_new_privs, has_no_new_privs; /* landlock, seccomp and network imply it */
    struct policy_rlimit rlimits[POLICY_RLIMITS_MAX];
    size_t n_rlimits;
    bool hardened;      /* "seccomp": "hardened": the table of profile.c */
    bool no_network;    /* "network": "none": no socket but Unix ones */
    uint32_t nice;      /* 0..19, added */
    uint64_t drop_caps; /* bit per capability */
};

/* NULL and null give an empty policy. The strings are copied into the arena. */
int policy_decode(json_t *json, struct arena *arena, struct policy *ret_policy,
                  struct err *err) must_check;
