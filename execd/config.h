/*
 * What execd was asked to do: options, their environment twins, and the checks on them.
 *
 * A secret is hashed and wiped where it stands (argument vector or environment) while options are read, so nothing
 * of it is left when the first child starts. Thread rule: main, before the loop.
 * Source: contracts/execd.md 3.10, v1.1.md 1.9, hardening 6.
 */
#pragma once

#include "execd/code/context.h"
#include "execd/api/shared.h"
#include "execd/harden/filter.h"
#include "execd/stream/sink_sse.h"
#include "proto/base/codec.h"
#include "proto/base/err.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

#define CONFIG_LISTEN_MAX 16
#define CONFIG_GATEWAY_LISTEN_MAX 4
#define CONFIG_ORIGINS_MAX 16
#define CONFIG_WRITABLE_MAX 64

/* Listeners for Jupyter clients (execd/config_gateway.c). Strings in the arena of config. */
struct gateway_config {
    const char *listen[CONFIG_GATEWAY_LISTEN_MAX];
    size_t n_listen;
    bool open; /* there: no token is asked for by the gateway's routes */
    bool has_token;
    uint8_t token_sha256[SHA256_LEN]; /* there: opens the gateway's routes beside execd's token */
    const char *root;                 /* of /api/contents; NULL = the start directory */
    const char *default_kernel;       /* name of a kernelspec; NULL = chosen */
};

struct config {
    struct arena arena;                    /* owns every string below that is not argv's */
    const char *listen[CONFIG_LISTEN_MAX]; /* in the arena */
    size_t n_listen;   /* 0 = every address, `port`, unless listen_fd or gateway_only is set */
    bool gateway_only; /* nothing is served but the gateway's listeners */
    struct gateway_config gateway;
    struct shared_config shared;
    int listen_fd; /* an inherited listening socket; -1 = none */
    uint16_t port;
    const char *inner_listen; /* the second listener inside the sandbox; NULL = none */
    const char *allowed_origins[CONFIG_ORIGINS_MAX + 1]; /* NULL-terminated, in the arena */
    bool has_token;
    uint8_t token_sha256[SHA256_LEN];
    bool insecure;
    enum log_level log_level;
    const char *log_file; /* NULL = standard error */
    enum line_endings line_endings;
    int grace_ms;
    struct code_config code;    /* zeroed fields: the defaults of the code room */
    const char *sql_dsn;        /* in the arena; NULL: the default of the sql room */
    bool init;                  /* asked to be the container's init */
    bool isolation_grant;       /* CAP_SYS_ADMIN is for isolated sessions: children lose it */
    const char *isolation_root; /* NULL = the default of the isolate room */
    const char *const *isolation_writable; /* NULL-terminated; NULL = the default of that room */
    bool exit_with_entrypoint;
    bool
        term_is_success; /* an orderly shutdown ends with 0, whatever the entrypoint made of its TERM */
    const char *lifecycle; /* hooks as JSON; NULL = none */
    enum filter_mode seccomp;
    const char *const *entrypoint; /* rest of argv, borrowed; NULL = none */
    const char *notice[4];         /* accepted and without effect: one line of log each */
    size_t n_notices;
};

enum config_result { CONFIG_RUN, CONFIG_EXIT };

/* CONFIG_RUN: *ret_config is filled, config_done frees it. CONFIG_EXIT: --help or --version was answered on standard
 * output. -EINVAL with a text that teaches. */
int config_load(int argc, char **argv, struct config *ret_config, struct err *err) must_check;
void config_done(struct config *config);

/* Does this --listen address need a token? Everything but Unix sockets and loopback does. */
bool config_is_exposed(const char *where);
