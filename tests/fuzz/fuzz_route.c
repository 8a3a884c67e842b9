/* Paths and query strings: matching stays inside its memory and decodes once. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/http/route.h"
#include "proto/http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct route routes[] = {
    {.method = "GET", .pattern = "/ping"},
    {.method = "POST", .pattern = "/command"},
    {.method = "GET", .pattern = "/command/status/:id"},
    {.method = "GET", .pattern = "/command/:id/logs"},
    {.method = "*", .pattern = "/a/:b/c/:d/*rest"},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct route_match match;
    char *path = malloc(size + 1);
    const char *query;

    memcpy(path, data, size);
    path[size] = '\0';
    arena_init(&arena);
    if (route_find(routes, ARRAY_LEN(routes), "GET", path, &arena, &match, NULL) == 0 &&
        match.route) {
        if (strcmp(match.route->pattern, "/ping") == 0 && !strchr(path, '%') &&
            strcmp(path, "/ping") != 0)
            abort();
        for (size_t i = 0; i < match.n_params; i++) {
            if (strlen(match.params[i].value) > strlen(path))
                abort();
        }
    }
    if (uri_decode_query(&arena, path, strlen(path), &query) == 0 && strlen(query) > strlen(path))
        abort();
    arena_done(&arena);
    free(path);
    return 0;
}
