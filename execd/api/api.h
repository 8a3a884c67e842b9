/*
 * What handlers work with: the managers of the running agent, and the route table.
 *
 * Filled by app.c, borrowed by every handler for the life of the process. Handlers are short: decode, one domain
 * call, respond. Thread rule: loop thread only.
 */
#pragma once

#include "execd/code/context.h"
#include "execd/exec/command.h"
#include "execd/gateway/kernels.h"
#include "execd/harden/attempts.h"
#include "execd/exec/session.h"
#include "execd/isolate/manager.h"
#include "execd/metrics/sampler.h"
#include "execd/ports/watch.h"
#include "execd/sql/run.h"
#include "execd/stream/sink_sse.h"
#include "proto/base/codec.h"
#include "proto/http/server.h"

struct channels;
struct runcode_manager;
struct jsessions;
struct term_manager;
struct terminals;
struct work_pool;

struct api {
    struct event_base *base;
    struct command_manager *commands;
    struct session_manager *sessions;
    struct runcode_manager *runcode;
    struct isolate_manager *isolated;
    struct archive *archive;
    struct code_manager *code; /* NULL when kernels are off */
    struct err code_err;       /* why they are */
    unsigned contexts_max;     /* of kernels and shells together */
    struct sql_manager *sql;
    struct term_manager *terms;
    struct terminals *terminals; /* of the gateway, in terms */
    struct sampler *sampler;
    struct work_pool *pool;
    struct port_watch *ports;
    struct http_server *server;
    enum line_endings line_endings;
    const char *const *allowed_origins; /* of pages that may open WebSockets; NULL-terminated */
    bool has_token;
    uint8_t token_sha256[SHA256_LEN];
    bool gateway_open; /* gateway listeners: kernels without a token */
    bool has_gateway_token;
    uint8_t gateway_token_sha256[SHA256_LEN];
    struct kernels_config kernels; /* of the gateway */
    bool default_told;             /* that the default kernel is not there */
    struct channels *channels;     /* of the gateway's clients */
    size_t contents_held;          /* bytes of documents that are under way */
    struct jsessions *jsessions;   /* NULL when kernels are off */
    struct attempts attempts;      /* at wrong tokens */
    bool (*is_ready)(void *arg);   /* GET /ready */
    void *ready_arg;
    int64_t started_wall_ms;
};

/* Tags of listeners. */
enum { LISTENER_GATEWAY = 1 };

extern const struct route api_routes[];
extern const size_t api_n_routes;

/* The rows that work on files, and nothing else: what a file worker serves. Returns how many there are, at most max. */
size_t api_file_routes(struct route *ret_rows, size_t max);

/* http_server_config.authorize / render_error / on_done for this program. */
int api_authorize(struct http_req *req, const struct route *route, void *app, struct err *err);
int api_rewrite(struct http_req *req, void *app, const char **ret_path,
                struct err *err);                   /* h_pty.c h_proxy.c */
void api_decorate(struct http_req *req, void *app); /* gateway_access.c */
json_t *api_render_error(struct http_req *req, const struct err *err, void *app);

/* Handlers: each stands in the h_*.c of its subject. */
enum http_result h_ping(struct http_req *req, void *app);
enum http_result h_ready(struct http_req *req, void *app);
enum http_result h_command_run(struct http_req *req, void *app);
enum http_result h_interrupt(struct http_req *req,
                             void *app); /* DELETE /command and DELETE /code */
enum http_result h_command_status(struct http_req *req, void *app);
enum http_result h_command_logs(struct http_req *req, void *app);
enum http_result h_stream(struct http_req *req, void *app);
enum http_result h_stdin_write(struct http_req *req, void *app);
enum http_result h_stdin_close(struct http_req *req, void *app);
enum http_result h_session_create(struct http_req *req, void *app);
enum http_result h_session_list(struct http_req *req, void *app);
enum http_result h_session_get(struct http_req *req, void *app);
enum http_result h_session_delete(struct http_req *req, void *app);
enum http_result h_session_run(struct http_req *req, void *app);
enum http_result h_run_code(struct http_req *req, void *app);
enum http_result h_code_run(struct http_req *req, void *app);
enum http_result h_context_create(struct http_req *req, void *app);
enum http_result h_context_list(struct http_req *req, void *app);
enum http_result h_context_delete_all(struct http_req *req, void *app);
enum http_result h_context_restart(struct http_req *req, void *app);
enum http_result h_checkpoint_make(struct http_req *req, void *app);
enum http_result h_checkpoint_list(struct http_req *req, void *app);
enum http_result h_checkpoint_delete(struct http_req *req, void *app);
enum http_result h_context_rewind(struct http_req *req, void *app);
enum http_result h_context_branch(struct http_req *req, void *app);
enum http_result h_context_get(struct http_req *req, void *app);
enum http_result h_context_delete(struct http_req *req, void *app);
enum http_result h_isolated_create(struct http_req *req, void *app);
enum http_result h_isolated_get(struct http_req *req, void *app);
enum http_result h_isolated_list(struct http_req *req, void *app);
enum http_result h_isolated_delete(struct http_req *req, void *app);
enum http_result h_isolated_capabilities(struct http_req *req, void *app);
enum http_result h_isolated_diff(struct http_req *req, void *app);
enum http_result h_isolated_commit(struct http_req *req, void *app);
enum http_result h_isolated_files(struct http_req *req, void *app);
enum http_result h_isolated_directories(struct http_req *req, void *app);
enum http_result h_isolated_run(struct http_req *req, void *app);
enum http_result h_isolated_run_status(struct http_req *req, void *app);
enum http_result h_isolated_run_logs(struct http_req *req, void *app);
enum http_result h_file_info(struct http_req *req, void *app);
enum http_result h_filesystem(struct http_req *req,
                              void *app); /* the file routes below /v1/filesystem/:uid/:gid */
enum http_result h_file_remove(struct http_req *req, void *app);
enum http_result h_file_permissions(struct http_req *req, void *app);
enum http_result h_file_move(struct http_req *req, void *app);
enum http_result h_file_replace(struct http_req *req, void *app);
enum http_result h_dir_list(struct http_req *req, void *app);
enum http_result h_dir_create(struct http_req *req, void *app);
enum http_result h_dir_remove(struct http_req *req, void *app);
enum http_result h_file_upload(struct http_req *req, void *app);
enum http_result h_upload_state(struct http_req *req, void *app);
enum http_result h_file_download(struct http_req *req, void *app);
enum http_result h_capabilities(struct http_req *req, void *app);
enum http_result h_ports(struct http_req *req, void *app);
enum http_result h_events(struct http_req *req, void *app);
enum http_result h_file_search(struct http_req *req, void *app);
enum http_result h_tar_get(struct http_req *req, void *app);
enum http_result h_tar_post(struct http_req *req, void *app);
enum http_result h_file_watch(struct http_req *req, void *app);
enum http_result h_metrics(struct http_req *req, void *app);
enum http_result h_pty_create(struct http_req *req, void *app);
enum http_result h_pty_list(struct http_req *req, void *app);
enum http_result h_pty_get(struct http_req *req, void *app);
enum http_result h_pty_delete(struct http_req *req, void *app);
enum http_result h_pty_ws(struct http_req *req, void *app);
enum http_result h_pty_recording(struct http_req *req, void *app);
enum http_result h_gateway_version(struct http_req *req, void *app);
enum http_result h_gateway_me(struct http_req *req, void *app);
enum http_result h_gateway_options(struct http_req *req, void *app);
enum http_result h_gateway_status(struct http_req *req, void *app);
enum http_result h_kernel_start(struct http_req *req, void *app);
enum http_result h_kernel_list(struct http_req *req, void *app);
enum http_result h_kernel_get(struct http_req *req, void *app);
enum http_result h_kernel_interrupt(struct http_req *req, void *app);
enum http_result h_kernel_restart(struct http_req *req, void *app);
enum http_result h_kernel_channels(struct http_req *req, void *app);
enum http_result h_kernel_delete(struct http_req *req, void *app);
enum http_result h_jsession_create(struct http_req *req, void *app);
enum http_result h_jsession_list(struct http_req *req, void *app);
enum http_result h_jsession_get(struct http_req *req, void *app);
enum http_result h_jsession_change(struct http_req *req, void *app);
enum http_result h_jsession_delete(struct http_req *req, void *app);
enum http_result h_jterminal_start(struct http_req *req, void *app);
enum http_result h_jterminal_list(struct http_req *req, void *app);
enum http_result h_jterminal_get(struct http_req *req, void *app);
enum http_result h_jterminal_delete(struct http_req *req, void *app);
enum http_result h_jterminal_ws(struct http_req *req, void *app);
enum http_result h_contents_get(struct http_req *req, void *app);
enum http_result h_contents_save(struct http_req *req, void *app);
enum http_result h_contents_new(struct http_req *req, void *app);
enum http_result h_contents_rename(struct http_req *req, void *app);
enum http_result h_contents_delete(struct http_req *req, void *app);
enum http_result h_kernelspecs(struct http_req *req, void *app);
enum http_result h_kernelspec(struct http_req *req, void *app);
enum http_result h_kernelspec_file(struct http_req *req, void *app);
enum http_result h_watch_metrics(struct http_req *req, void *app);
void watch_metrics_close(void); /* execd ends: so do the streams */
enum http_result
h_proxy(struct http_req *req,
        void *app); /* any path below /proxy/:port/: another port in this sandbox */
