#include "server/api/enclave.h"
#include "server/api/handlers.h"

#define BODY_SMALL (64 * 1024)
#define BODY_CREATE (1024 * 1024)
#define BODY_TOOL (16 * 1024 * 1024)

/* Each row once: under "/" and under "/v1" (contracts/server.md 0.1). */
#define BOTH(m, p, a, b, max, h, d)                                                                \
    {m, p, a, b, max, h, d},                                                                       \
    {                                                                                              \
        m, "/v1" p, a, b, max, h, d                                                                \
    }

const struct route api_routes[] = {
    {"GET", "/health", AUTH_OPEN, BODY_NONE, 0, h_health, "Liveness of the server"},
    {"GET", "/version", AUTH_OPEN, BODY_NONE, 0, h_version, "Version of the server"},
    {"GET", "/metrics", AUTH_REQUIRED, BODY_NONE, 0, h_metrics, "Prometheus metrics of the server"},
    BOTH("POST", "/metrics/events", AUTH_REQUIRED, BODY_COLLECTED, BODY_SMALL, h_client_event,
         "Take a creation time measured by a client"),

    BOTH("POST", "/sandboxes", AUTH_REQUIRED, BODY_COLLECTED, BODY_CREATE, h_sandbox_create,
         "Create a sandbox"),
    BOTH("GET", "/sandboxes", AUTH_REQUIRED, BODY_NONE, 0, h_sandbox_list, "List sandboxes"),
    BOTH("GET", "/sandboxes/:id", AUTH_REQUIRED, BODY_NONE, 0, h_sandbox_get, "Get a sandbox"),
    BOTH("DELETE", "/sandboxes/:id", AUTH_REQUIRED, BODY_NONE, 0, h_sandbox_delete,
         "Delete a sandbox"),
    BOTH("POST", "/sandboxes/:id/pause", AUTH_REQUIRED, BODY_NONE, 0, h_sandbox_pause,
         "Freeze a sandbox"),
    BOTH("POST", "/sandboxes/:id/resume", AUTH_REQUIRED, BODY_NONE, 0, h_sandbox_resume,
         "Let a frozen sandbox go on"),
    BOTH("PATCH", "/sandboxes/:id/metadata", AUTH_REQUIRED, BODY_COLLECTED, BODY_SMALL,
         h_sandbox_patch, "Merge metadata"),
    BOTH("POST", "/sandboxes/:id/renew-expiration", AUTH_REQUIRED, BODY_COLLECTED, BODY_SMALL,
         h_sandbox_renew, "Set a new expiration"),
    BOTH("GET", "/sandboxes/:id/endpoints/:port", AUTH_REQUIRED, BODY_NONE, 0, h_endpoint,
         "Address of a port of a sandbox"),
    BOTH("*", "/sandboxes/:id/proxy/:port", AUTH_REQUIRED, BODY_STREAMED, 0, h_proxy,
         "Proxy to a port of a sandbox"),
    BOTH("*", "/sandboxes/:id/proxy/:port/*rest", AUTH_REQUIRED, BODY_STREAMED, 0, h_proxy,
         "Proxy to a path on a port of a sandbox"),

    BOTH("POST", "/sandboxes/:id/snapshots", AUTH_REQUIRED, BODY_NONE, 0, h_snapshots,
         "Snapshots: not in this runtime"),
    BOTH("*", "/templates", AUTH_REQUIRED, BODY_NONE, 0, h_templates,
         "Templates: not in this runtime"),
    BOTH("*", "/templates/:id", AUTH_REQUIRED, BODY_NONE, 0, h_templates,
         "One template: not in this runtime"),

    {"OPTIONS", "/sandbox/*rest", AUTH_OPEN, BODY_NONE, 0, h_enclave_options,
     "Preflight of a sandbox's route"},
    BOTH("OPTIONS", "/sandboxes", AUTH_OPEN, BODY_NONE, 0, h_enclave_options,
         "Preflight of the list"),
    {"OPTIONS", "/pool/*rest", AUTH_OPEN, BODY_NONE, 0, h_enclave_options,
     "Preflight of a pool's route"},
    {"OPTIONS", "/stats", AUTH_OPEN, BODY_NONE, 0, h_enclave_options, "Preflight of the figures"},
    {"OPTIONS", "/health", AUTH_OPEN, BODY_NONE, 0, h_enclave_options, "Preflight of liveness"},
    {"POST", "/sandbox/create", AUTH_REQUIRED, BODY_COLLECTED, BODY_CREATE, h_enclave_create,
     "Create a sandbox, as ms-enclave"},
    {"POST", "/sandbox/tool/execute", AUTH_REQUIRED, BODY_COLLECTED, BODY_TOOL, h_enclave_execute,
     "Run a tool in a sandbox"},
    {"GET", "/sandbox/:id", AUTH_REQUIRED, BODY_NONE, 0, h_enclave_get,
     "Get a sandbox, as ms-enclave"},
    {"DELETE", "/sandbox/:id", AUTH_REQUIRED, BODY_NONE, 0, h_enclave_delete,
     "Delete a sandbox, as ms-enclave"},
    {"POST", "/sandbox/:id/stop", AUTH_REQUIRED, BODY_NONE, 0, h_enclave_stop,
     "Stop a sandbox and remember it"},
    {"GET", "/sandbox/:id/tools", AUTH_REQUIRED, BODY_NONE, 0, h_enclave_tools,
     "Tools of a sandbox"},
    {"POST", "/sandbox/:id/archive", AUTH_REQUIRED, BODY_STREAMED, 0, h_enclave_archive,
     "Extract a tar archive in a sandbox"},
    {"GET", "/stats", AUTH_REQUIRED, BODY_NONE, 0, h_enclave_stats, "Figures, as ms-enclave"},
    {"POST", "/pool/initialize", AUTH_REQUIRED, BODY_COLLECTED, BODY_CREATE, h_enclave_pool_fill,
     "Make a pool of sandboxes"},
    {"POST", "/pool/execute", AUTH_REQUIRED, BODY_COLLECTED, BODY_TOOL, h_enclave_pool_use,
     "Run a tool in a sandbox of the pool"},
};
const size_t api_n_routes = ARRAY_LEN(api_routes);
