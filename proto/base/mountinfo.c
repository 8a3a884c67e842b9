#include "proto/base/mountinfo.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

bool mountinfo_split(const char *line, const char *end, struct mountinfo_line *m)
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

static bool is_octal(const char *p)
{
    return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' && p[2] <= '7';
}

/* Blank, tab, newline and backslash are written as \ooo. */
int mountinfo_copy(const char *from, const char *end, char *out)
{
    char *to = out;

    for (const char *p = from; p < end;) {
        if (to == out + PATH_MAX - 1)
            return -ENAMETOOLONG;
        if (*p == '\\' && end - p >= 4 && is_octal(p + 1)) {
            *to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 4;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
    return 0;
}
