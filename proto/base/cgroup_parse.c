#include "proto/base/cgroupfs_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

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

static bool is_octal(const char *p)
{
    return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' && p[2] <= '7';
}

/* mountinfo writes blank, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *p = text; *p != '\0';) {
        if (*p == '\\' && is_octal(p + 1)) {
            *to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 4;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
}

static int copy_escaped(const char *from, const char *end, char *out)
{
    int rc = copy_field(from, end, out);

    if (rc == 0)
        unescape(out);
    return rc;
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

/* One line: id parent major:minor root point options [optional...] - type source super-options */
struct mount_line {
    const char *field[6], *field_end[6];
    const char *type, *type_end, *super, *super_end;
};

static bool split_mount(const char *line, const char *end, struct mount_line *m)
{
    const char *p = line;

    for (int i = 0; i < 6; i++) {
        const char *stop = memchr(p, ' ', (size_t)(end - p));
        if (stop == NULL)
            return false;
        m->field[i] = p;
        m->field_end[i] = stop;
        p = stop + 1;
    }
    const char *dash = memmem(p - 1, (size_t)(end - p + 1), " - ", 3);
    if (dash == NULL)
        return false;
    m->type = dash + 3;
    m->type_end = memchr(m->type, ' ', (size_t)(end - m->type));
    if (m->type_end == NULL)
        return false;
    const char *source_end = memchr(m->type_end + 1, ' ', (size_t)(end - m->type_end - 1));
    m->super = source_end != NULL ? source_end + 1 : end;
    m->super_end = end;
    return true;
}

static bool is_hierarchy(const struct mount_line *m, const char *name)
{
    size_t len = (size_t)(m->type_end - m->type);

    if (name[0] == '\0')
        return len == 7 && memcmp(m->type, "cgroup2", 7) == 0;
    return len == 6 && memcmp(m->type, "cgroup", 6) == 0 &&
           list_has(m->super, (size_t)(m->super_end - m->super), name);
}

int cgroup_parse_mount(const char *text, const char *name, char *ret_root, char *ret_point)
{
    struct mount_line m;

    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        if (split_mount(line, end, &m) && is_hierarchy(&m, name)) {
            int rc = copy_escaped(m.field[3], m.field_end[3], ret_root);
            return rc < 0 ? rc : copy_escaped(m.field[4], m.field_end[4], ret_point);
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
