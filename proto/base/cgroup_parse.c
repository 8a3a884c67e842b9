#include "proto/base/cgroupfs_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/mountinfo.h"

/* Is word one of the comma-separated words of list[0..len)? The empty word matches the empty list. */
static bool list_has(const char *list, size_t len, const char *word)
{
    size_t want = strlen(word);

    if (want == 0)
        return len == 0;
    while (len > 0) {
        const char *comma = memchr(list, ',', len);
        size_t n = comma != NULL ? (size_t)(comma - list) : len;
        if (n == want && memcmp(list, word, want) == 0)
            return true;
        if (comma == NULL)
            return false;
        list = comma + 1;
        len -= n + 1;
    }
    return false;
}

static int copy_field(const char *from, const char *end, char *out)
{
    size_t n = (size_t)(end - from);

    if (n >= PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(out, from, n);
    out[n] = '\0';
    return 0;
}

int cgroup_parse_own_path(const char *text, const char *name, char *out)
{
    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        const char *list = memchr(line, ':', (size_t)(end - line));
        const char *path = list != NULL ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
        if (path != NULL && list_has(list + 1, (size_t)(path - list - 1), name))
            return copy_field(path + 1, end, out);
        line = *end == '\n' ? end + 1 : end;
    }
    return -ENOENT;
}

static bool is_hierarchy(const struct mountinfo_line *m, const char *name)
{
    size_t len = (size_t)(m->type_end - m->type);

    if (name[0] == '\0')
        return len == 7 && memcmp(m->type, "cgroup2", 7) == 0;
    return len == 6 && memcmp(m->type, "cgroup", 6) == 0 &&
           list_has(m->super, (size_t)(m->super_end - m->super), name);
}

int cgroup_parse_mount(const char *text, const char *name, char *ret_root, char *ret_point)
{
    struct mountinfo_line m;

    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        if (mountinfo_split(line, end, &m) && is_hierarchy(&m, name)) {
            int rc = mountinfo_copy(m.field[MOUNTINFO_ROOT], m.field_end[MOUNTINFO_ROOT], ret_root);
            return rc < 0 ? rc
                          : mountinfo_copy(m.field[MOUNTINFO_POINT], m.field_end[MOUNTINFO_POINT],
                                           ret_point);
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return -ENOENT;
}

static bool has_dotdot(const char *path)
{
    for (const char *at = path; (at = strstr(at, "/..")) != NULL; at += 3)
        if (at[3] == '/' || at[3] == '\0')
            return true;
    return false;
}

/* The part of path behind root, "" for root itself; NULL when path does not lie below root. */
static const char *below_root(const char *path, const char *root)
{
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);

    if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    return strcmp(path + n, "/") == 0 ? "" : path + n;
}

/* Both are seen from the reader's cgroup namespace: "/../x" lies outside it. Such a path means the same on both sides
 * and may be stripped like any other, but what is left must not climb: "/sys/fs/cgroup/memory" + "/../x" is no group. */
int cgroup_own_folder(const char *cgroups, const char *mounts, const char *name, char *out)
{
    char path[PATH_MAX], root[PATH_MAX], point[PATH_MAX];

    int rc = cgroup_parse_own_path(cgroups, name, path);
    if (rc == 0)
        rc = cgroup_parse_mount(mounts, name, root, point);
    if (rc < 0)
        return rc;
    const char *below = below_root(path, root);
    if (below == NULL || has_dotdot(below))
        return -ENOENT;
    int len = snprintf(out, PATH_MAX, "%s%s", point, below);
    return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}
