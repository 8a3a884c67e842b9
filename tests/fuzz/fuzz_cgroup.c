/* /proc/self/cgroup and mountinfo: any text gives a folder below a mount point or nothing. Input: both, split at the
 * first NUL. */
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cgroupfs_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *copy(const uint8_t *p, size_t n)
{
    char *text = malloc(n + 1);

    if (text == NULL)
        abort();
    if (n > 0)
        memcpy(text, p, n);
    text[n] = '\0';
    return text;
}

static void check(const char *cgroups, const char *mounts, const char *name)
{
    char folder[PATH_MAX], root[PATH_MAX], point[PATH_MAX];

    if (cgroup_own_folder(cgroups, mounts, name, folder) != 0)
        return;
    if (strlen(folder) >= PATH_MAX || cgroup_parse_mount(mounts, name, root, point) != 0)
        abort();
    size_t n = strlen(point);
    if (strncmp(folder, point, n) != 0 || (folder[n] != '/' && folder[n] != '\0'))
        abort();
    for (const char *at = folder + n; (at = strstr(at, "/..")) != NULL; at += 3)
        if (at[3] == '/' || at[3] == '\0')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    size_t first = nul != NULL ? (size_t)(nul - data) : size;
    char *cgroups = copy(data, first);
    char *mounts = copy(data + first + (nul != NULL), size - first - (nul != NULL));

    for (int c = 0; c < CGROUP_CONTROLLER_MAX; c++)
        check(cgroups, mounts, cgroup_controller_name((enum cgroup_controller)c));
    free(cgroups);
    free(mounts);
    return 0;
}
