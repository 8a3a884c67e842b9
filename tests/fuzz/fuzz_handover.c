/* EXECD_CGROUP_FDS: what parses names descriptors from 3 on, what does not leaves nothing behind. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/init/handover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cgroup_dirs dirs, before;
    struct err err = {.text = ""};
    char *text = malloc(size + 1);

    if (text == NULL)
        abort();
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    memset(&dirs, 0xa5, sizeof(dirs));
    before = dirs;
    if (handover_parse(text, &dirs, &err) < 0) {
        if (err.text[0] == '\0' || memcmp(&dirs, &before, sizeof(dirs)) != 0)
            abort();
    } else {
        for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
            if (dirs.fd[c] != -1 && dirs.fd[c] < 3)
                abort();
    }
    free(text);
    return 0;
}
