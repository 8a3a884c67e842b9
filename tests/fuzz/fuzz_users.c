/*
 * /etc/passwd and /etc/group of a hostile image. Input: both files, split at the first NUL. Names are found only as they
 * are written, and no odd entry becomes root.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/proc/users.h"
#include "execd/proc/users_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz-users-XXXXXX";

static void remove_folder(void)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/passwd", folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/group", folder);
    unlink(path);
    rmdir(folder);
}

static void put(const char *name, const uint8_t *p, size_t n)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n)
        abort();
    close(fd);
}

/* "name:" at the start of a line: without it nobody may be found under that name. */
static int has_entry(const uint8_t *p, size_t n, const char *name)
{
    size_t len = strlen(name);
    for (size_t at = 0; at + len < n; at++)
        if ((at == 0 || p[at - 1] == '\n') && memcmp(p + at, name, len) == 0 && p[at + len] == ':')
            return 1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int ready;
    struct user user;
    gid_t gid, groups[16];
    char name[256];

    if (!ready) {
        if (mkdtemp(folder) == NULL)
            abort();
        atexit(remove_folder);
        users_etc_dir = folder;
        ready = 1;
    }
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    size_t first = nul != NULL ? (size_t)(nul - data) : size;
    const uint8_t *second = data + first + (nul != NULL);
    put("passwd", data, first);
    put("group", second, (size_t)(data + size - second));

    if (users_by_name("user", &user) == 0 && !has_entry(data, first, "user"))
        abort();
    if (users_by_uid(1000, &user) == 0 && user.known && user.uid != 1000)
        abort();
    if (users_group_by_name("user", &gid) == 0 &&
        !has_entry(second, (size_t)(data + size - second), "user"))
        abort();
    users_group_name(1000, name, sizeof(name));
    int n = users_groups("user", 1000, groups, 16);
    if (n > 16 || (n > 0 && groups[0] != 1000))
        abort();
    return 0;
}
