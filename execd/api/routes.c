#include "execd/api/api.h"

/* Every route of execd. contracts/execd.md 1.2, v1.1.md 1. */
/* clang-format off: one route per row */
const struct route api_routes[] = {
    {"GET", "/ping", AUTH_OPEN, BODY_NONE, 0, h_ping, "Liveness"},
    {"GET", "/ready", AUTH_OPEN, BODY_NONE, 0, h_ready, "Readiness"},
    {"GET", "/files/info", AUTH_REQUIRED, BODY_NONE, 0, h_file_info, "Facts about files"},
    {"POST", "/files/upload", AUTH_REQUIRED, BODY_STREAMED, 0, h_file_upload, "Upload files"},
    {"GET", "/files/download", AUTH_REQUIRED, BODY_NONE, 0, h_file_download, "Download a file"},
    {"*", "/proxy/:port/*rest", AUTH_REQUIRED, BODY_STREAMED, 0, h_proxy,
     "Another port of the sandbox"},
};
/* clang-format on */
const size_t api_n_routes = ARRAY_LEN(api_routes);
