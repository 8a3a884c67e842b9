#include "execd/api/api.h"
#include "proto/base/str.h"

#define COMMAND_BODY_MAX (8U << 20)
#define REPLACE_BODY_MAX (32U << 20)
#define CODE_BODY_MAX (32U << 20)

/* Every route of execd. contracts/execd.md 1.2, v1.1.md 1. */
/* clang-format off: one route per row */
const struct route api_routes[] = {
    {"GET", "/ping", AUTH_OPEN, BODY_NONE, 0, h_ping, "Liveness"},
    {"GET", "/ready", AUTH_OPEN, BODY_NONE, 0, h_ready, "Readiness"},
    {"POST", "/command", AUTH_REQUIRED, BODY_COLLECTED, COMMAND_BODY_MAX, h_command_run,
     "Run a command"},
    {"DELETE", "/command", AUTH_REQUIRED, BODY_NONE, 0, h_interrupt, "Interrupt a command"},
    {"GET", "/command/status/:id", AUTH_REQUIRED, BODY_NONE, 0, h_command_status,
     "Status of a command"},
    {"GET", "/command/:id/logs", AUTH_REQUIRED, BODY_NONE, 0, h_command_logs,
     "Output of a background command"},
    {"GET", "/command/:id/stream", AUTH_REQUIRED, BODY_NONE, 0, h_stream,
     "Events of a run, from anywhere"},
    {"POST", "/command/:id/stdin", AUTH_REQUIRED, BODY_STREAMED, 0, h_stdin_write,
     "Write to the standard input"},
    {"DELETE", "/command/:id/stdin", AUTH_REQUIRED, BODY_NONE, 0, h_stdin_close,
     "Close the standard input"},
    {"POST", "/session", AUTH_REQUIRED, BODY_COLLECTED, 0, h_session_create,
     "Create a shell session"},
    {"GET", "/session", AUTH_REQUIRED, BODY_NONE, 0, h_session_list, "List shell sessions"},
    {"GET", "/session/:sessionId", AUTH_REQUIRED, BODY_NONE, 0, h_session_get,
     "Get a shell session"},
    {"DELETE", "/session/:sessionId", AUTH_REQUIRED, BODY_NONE, 0, h_session_delete,
     "Delete a shell session"},
    {"POST", "/session/:sessionId/run", AUTH_REQUIRED, BODY_COLLECTED, COMMAND_BODY_MAX,
     h_session_run, "Run a command in a session"},
    {"POST", "/code", AUTH_REQUIRED, BODY_COLLECTED, CODE_BODY_MAX, h_code_run, "Run code"},
    {"DELETE", "/code", AUTH_REQUIRED, BODY_NONE, 0, h_interrupt, "Interrupt a code run"},
    {"POST", "/code/context", AUTH_REQUIRED, BODY_COLLECTED, 0, h_context_create,
     "Create a code context"},
    {"GET", "/code/contexts", AUTH_REQUIRED, BODY_NONE, 0, h_context_list, "List code contexts"},
    {"DELETE", "/code/contexts", AUTH_REQUIRED, BODY_NONE, 0, h_context_delete_all,
     "Delete the code contexts of a language"},
    {"GET", "/code/contexts/:contextId", AUTH_REQUIRED, BODY_NONE, 0, h_context_get,
     "Get a code context"},
    {"DELETE", "/code/contexts/:contextId", AUTH_REQUIRED, BODY_NONE, 0, h_context_delete,
     "Delete a code context"},
    {"POST", "/v1/isolated/session", AUTH_REQUIRED, BODY_COLLECTED, 0, h_isolated_create,
     "Create an isolated session"},
    {"GET", "/v1/isolated/session/:sessionId", AUTH_REQUIRED, BODY_NONE, 0, h_isolated_get,
     "Get an isolated session"},
    {"DELETE", "/v1/isolated/session/:sessionId", AUTH_REQUIRED, BODY_NONE, 0, h_isolated_delete,
     "Delete an isolated session"},
    {"GET", "/v1/isolated/sessions", AUTH_REQUIRED, BODY_NONE, 0, h_isolated_list,
     "List isolated sessions"},
    {"GET", "/v1/isolated/capabilities", AUTH_REQUIRED, BODY_NONE, 0, h_isolated_capabilities,
     "Whether isolated sessions are possible"},
    {"GET", "/v1/isolated/session/:sessionId/diff", AUTH_REQUIRED, BODY_NONE, 0, h_isolated_diff,
     "What an isolated session has changed"},
    {"POST", "/v1/isolated/session/:sessionId/commit", AUTH_REQUIRED, BODY_NONE, 0,
     h_isolated_commit, "Take over what an isolated session has changed"},
    {"*", "/v1/isolated/session/:sessionId/files", AUTH_REQUIRED, BODY_STREAMED, 0,
     h_isolated_files, "Files of an isolated session, all at once"},
    {"*", "/v1/isolated/session/:sessionId/files/*rest", AUTH_REQUIRED, BODY_STREAMED, 0,
     h_isolated_files, "Files of an isolated session"},
    {"*", "/v1/isolated/session/:sessionId/directories", AUTH_REQUIRED, BODY_STREAMED, 0,
     h_isolated_directories, "Folders of an isolated session, all at once"},
    {"*", "/v1/isolated/session/:sessionId/directories/*rest", AUTH_REQUIRED, BODY_STREAMED, 0,
     h_isolated_directories, "Folders of an isolated session"},
    {"POST", "/v1/isolated/session/:sessionId/run", AUTH_REQUIRED, BODY_COLLECTED, COMMAND_BODY_MAX,
     h_isolated_run, "Run in an isolated session"},
    {"GET", "/v1/isolated/session/:sessionId/runs/:runId", AUTH_REQUIRED, BODY_NONE, 0,
     h_isolated_run_status, "Status of a background run"},
    {"GET", "/v1/isolated/session/:sessionId/runs/:runId/logs", AUTH_REQUIRED, BODY_NONE, 0,
     h_isolated_run_logs, "Output of a background run"},
    {"GET", "/metrics", AUTH_REQUIRED, BODY_NONE, 0, h_metrics, "Metrics of the sandbox"},
    {"GET", "/metrics/watch", AUTH_REQUIRED, BODY_NONE, 0, h_watch_metrics, "Metrics every second"},
    {"GET", "/capabilities", AUTH_REQUIRED, BODY_NONE, 0, h_capabilities,
     "What kernel and container give"},
    {"GET", "/ports", AUTH_REQUIRED, BODY_NONE, 0, h_ports, "Who listens"},
    {"GET", "/events", AUTH_REQUIRED, BODY_NONE, 0, h_events, "Follow what happens"},
    {"GET", "/files/info", AUTH_REQUIRED, BODY_NONE, 0, h_file_info, "Facts about files"},
    {"DELETE", "/files", AUTH_REQUIRED, BODY_NONE, 0, h_file_remove, "Delete files"},
    {"POST", "/files/permissions", AUTH_REQUIRED, BODY_COLLECTED, 0, h_file_permissions,
     "Change mode and owner"},
    {"POST", "/files/mv", AUTH_REQUIRED, BODY_COLLECTED, 0, h_file_move, "Move files and folders"},
    {"POST", "/files/replace", AUTH_REQUIRED, BODY_COLLECTED, REPLACE_BODY_MAX, h_file_replace,
     "Replace text in files"},
    {"GET", "/directories/list", AUTH_REQUIRED, BODY_NONE, 0, h_dir_list, "List a folder"},
    {"POST", "/directories", AUTH_REQUIRED, BODY_COLLECTED, 0, h_dir_create, "Create folders"},
    {"DELETE", "/directories", AUTH_REQUIRED, BODY_NONE, 0, h_dir_remove, "Delete folders"},
    {"POST", "/files/upload", AUTH_REQUIRED, BODY_STREAMED, 0, h_file_upload, "Upload files"},
    {"GET", "/files/upload", AUTH_REQUIRED, BODY_NONE, 0, h_upload_state,
     "State of an upload in parts"},
    {"GET", "/files/download", AUTH_REQUIRED, BODY_NONE, 0, h_file_download, "Download a file"},
    {"GET", "/files/search", AUTH_REQUIRED, BODY_NONE, 0, h_file_search, "Search files by name"},
    {"GET", "/files/watch", AUTH_REQUIRED, BODY_NONE, 0, h_file_watch, "Watch files for changes"},
    {"GET", "/directories/tar", AUTH_REQUIRED, BODY_NONE, 0, h_tar_get,
     "Download a folder as a tar archive"},
    {"POST", "/directories/tar", AUTH_REQUIRED, BODY_STREAMED, 0, h_tar_post,
     "Extract a tar archive into a folder"},
    {"POST", "/pty", AUTH_REQUIRED, BODY_COLLECTED, 0, h_pty_create, "Create a terminal session"},
    {"GET", "/pty", AUTH_REQUIRED, BODY_NONE, 0, h_pty_list, "List terminal sessions"},
    {"GET", "/pty/:sessionId", AUTH_REQUIRED, BODY_NONE, 0, h_pty_get, "Get a terminal session"},
    {"DELETE", "/pty/:sessionId", AUTH_REQUIRED, BODY_NONE, 0, h_pty_delete,
     "Delete a terminal session"},
    {"GET", "/pty/:sessionId/ws", AUTH_REQUIRED, BODY_NONE, 0, h_pty_ws,
     "Connect to a terminal session"},
    {"GET", "/pty/:sessionId/recording", AUTH_REQUIRED, BODY_NONE, 0, h_pty_recording,
     "Recording of a terminal session"},
    {"*", "/v1/filesystem/:uid/:gid/*rest", AUTH_REQUIRED, BODY_STREAMED, 0, h_filesystem,
     "Files as another identity"},
    {"*", "/proxy/:port/*rest", AUTH_REQUIRED, BODY_STREAMED, 0, h_proxy,
     "Another port of the sandbox"},
};
/* clang-format on */
const size_t api_n_routes = ARRAY_LEN(api_routes);

size_t api_file_routes(struct route *ret_rows, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < api_n_routes; i++) {
        const char *pattern = api_routes[i].pattern;
        bool on_files = str_starts(pattern, "/files") || str_starts(pattern, "/directories");
        if (on_files && n < max)
            ret_rows[n++] = api_routes[i];
    }
    return n;
}
