/* The env file: names are names, entries are bounded, and the text may stop anywhere. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/proc/env_table.h"
#include "execd/proc/environment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct jmap map = {0};
    size_t bad = 0;
    /* Not terminated, and not writable: a copy of the exact size shows every read beyond it. */
    char *text = malloc(size > 0 ? size : 1);

    if (text == NULL)
        abort();
    if (size > 0)
        memcpy(text, data, size);
    arena_init(&arena);
    if (environment_parse_file(&arena, text, size, &map, &bad) == 0) {
        if (map.n > ENV_ENTRIES_MAX || bad > size)
            abort();
        for (size_t i = 0; i < map.n; i++)
            if (map.items[i].key[0] == '\0' || strchr(map.items[i].key, '=') != NULL ||
                map.items[i].value == NULL)
                abort();
    }
    arena_done(&arena);
    free(text);
    return 0;
}
