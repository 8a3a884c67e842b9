#include "execd/api/api.h"

#define COMMAND_BODY_MAX (8U << 20)
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
    {"GET", "/metrics", AUTH_REQUIRED, BODY_NONE, 0, h_metrics, "Metrics of the sandbox"},
    {"GET", "/metrics/watch", AUTH_REQUIRED, BODY_NONE, 0, h_watch_metrics, "Metrics every second"},
    {"GET", "/ports", AUTH_REQUIRED, BODY_NONE, 0, h_ports, "Who listens"},
    {"GET", "/events", AUTH_REQUIRED, BODY_NONE, 0, h_events, "Follow what happens"},
    {"GET", "/files/info", AUTH_REQUIRED, BODY_NONE, 0, h_file_info, "Facts about files"},
    {"POST", "/files/upload", AUTH_REQUIRED, BODY_STREAMED, 0, h_file_upload, "Upload files"},
    {"GET", "/files/download", AUTH_REQUIRED, BODY_NONE, 0, h_file_download, "Download a file"},
    {"GET", "/files/search", AUTH_REQUIRED, BODY_NONE, 0, h_file_search, "Search files by name"},
    {"GET", "/files/watch", AUTH_REQUIRED, BODY_NONE, 0, h_file_watch, "Watch files for changes"},
    {"POST", "/pty", AUTH_REQUIRED, BODY_COLLECTED, 0, h_pty_create, "Create a terminal session"},
    {"GET", "/pty", AUTH_REQUIRED, BODY_NONE, 0, h_pty_list, "List terminal sessions"},
    {"GET", "/pty/:sessionId", AUTH_REQUIRED, BODY_NONE, 0, h_pty_get, "Get a terminal session"},
    {"DELETE", "/pty/:sessionId", AUTH_REQUIRED, BODY_NONE, 0, h_pty_delete,
     "Delete a terminal session"},
    {"GET", "/pty/:sessionId/ws", AUTH_REQUIRED, BODY_NONE, 0, h_pty_ws,
     "Connect to a terminal session"},
    {"GET", "/pty/:sessionId/recording", AUTH_REQUIRED, BODY_NONE, 0, h_pty_recording,
     "Recording of a terminal session"},
    {"*", "/proxy/:port/*rest", AUTH_REQUIRED, BODY_STREAMED, 0, h_proxy,
     "Another port of the sandbox"},
};
/* clang-format on */
const size_t api_n_routes = ARRAY_LEN(api_routes);
