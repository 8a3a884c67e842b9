/*
 * The server's settings: one TOML file as a table of keys, checked, with flags and environment on top.
 *
 * Precedence: command line > environment > file > default. Unknown keys and sections are warned about with the
 * nearest known name; wrong types and ranges are errors that name the key. Paths may start with ~.
 * Thread rule: main, before the loop. Source: contracts/server.md 5, v1.1.md 4.
 */
#pragma once

#include "proto/base/err.h"
#include "proto/base/mem.h"

struct config {
    struct arena arena; /* owns every string below */
    const char *file;   /* what was read, NULL if none */

    const char *host; /* server.host */
    int64_t port;
    const char *listen; /* server.unix_socket: additional Unix listener, NULL = none */
    const char *api_key;
    const char *enclave_listen, *enclave_image;
    const char *eip;
    int64_t timeout_max_s; /* server.max_sandbox_timeout_seconds, 0 = none */
    int64_t keep_alive_s;
    int64_t connections_max; /* server.limit_concurrency, 0 = the default cap */
    int64_t grace_s;
    int64_t sandboxes_max;
    bool insecure; /* no key on a non-loopback address is accepted */

    const char *log_level, *log_file;

    const char *runtime; /* runtime.type */
    const char *execd_path;
    const char *state_dir;
    const char *store_path;

    int64_t uid_base, pids_limit, start_timeout_s, tmp_mib;
    const char *cgroup_parent;
};

/* Defaults, then the file: `path`, else $SANDBOX_CONFIG_PATH, else ~/.sandbox.toml if it exists. */
int config_load(const char *path, struct config *ret_config, struct err *err) must_check;
/* OPENSANDBOX_SERVER_API_KEY, OPENSANDBOX_INSECURE_SERVER (wiped from the environment afterwards), and the
 * derived paths; refuses combinations that cannot work. */
int config_finish(struct config *config, struct err *err) must_check;
void config_done(struct config *config);

/* A commented file with every key and its default, as `init-config` writes it. */
struct strbuf;
void config_write_example(struct strbuf *out);
