/*
 * Data sources: what is taken is complete.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/sql/dsn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct dsn dsn;
    struct err err;

    if (size > 4096)
        return 0;
    arena_init(&arena);
    const char *text = arena_strndup(&arena, (const char *)data, size);
    if (text != NULL && dsn_parse(text, &arena, &dsn, &err) == 0) {
        bool whole = dsn.kind == DSN_SQLITE ? dsn.path[0] != '\0'
                                            : dsn.user && dsn.password && dsn.database &&
                                                  (dsn.host != NULL) != (dsn.socket != NULL) &&
                                                  (dsn.socket == NULL || strlen(dsn.socket) < 108);
        if (!whole)
            abort();
    }
    arena_done(&arena);
    return 0;
}
