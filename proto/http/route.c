#include "proto/http/route.h"

#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/mem.h"
#include "proto/http/uri.h"

#define SEGMENTS_MAX                                                                               \
    24 /* deeper than any pattern; the rest of a path is only reachable by "*name" */

/* A path cut at its raw slashes; each piece decoded by itself, so that %2f never makes a new segment. */
struct segments {
    size_t n; /* of the whole path; text and raw hold the first SEGMENTS_MAX */
    struct slice text[SEGMENTS_MAX]; /* decoded; not NUL-terminated */
    const char *raw[SEGMENTS_MAX];   /* where the segment begins in the raw path */
};

static int bad_path(struct err *err, const char *what)
{
    return err_set(err, ERR_BAD_REQUEST, EINVAL, "the request path %s", what);
}

static int add_segment(struct segments *s, const char *raw, size_t len, char **scratch,
                       struct err *err)
{
    struct slice text = {raw, len};

    if (memchr(raw, '%', len)) {
        ssize_t n = uri_decode(raw, len, false, *scratch);

        if (n < 0)
            return bad_path(err, "holds a broken escape");
        text = (struct slice){*scratch, (size_t)n};
        *scratch += n;
    }
    if (!uri_text_is_clean(text.ptr, text.len))
        return bad_path(err, "is not clean UTF-8 text");
    if (s->n < SEGMENTS_MAX) {
        s->text[s->n] = text;
        s->raw[s->n] = raw;
    }
    s->n++;
    return 0;
}

static int split_path(const char *path, struct arena *arena, struct segments *s, struct err *err)
{
    char *scratch = NULL;

    s->n = 0;
    if (strchr(path, '%')) {
        scratch = arena_alloc(arena, strlen(path));
        if (!scratch)
            return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the request path");
    }
    while (*path == '/') {
        size_t len = strcspn(++path, "/");
        int r = add_segment(s, path, len, &scratch, err);

        if (r < 0)
            return r;
        path += len;
    }
    return 0;
}

static bool bind_param(struct route_match *m, const char *name, const char *p, size_t n,
                       struct arena *arena)
{
    char *value = m->n_params < ROUTE_PARAMS_MAX ? arena_strndup(arena, p, n) : NULL;

    if (!value)
        return false;
    m->params[m->n_params].name = name;
    m->params[m->n_params].value = value;
    m->n_params++;
    return true;
}

/* The pattern's next segment begins behind a '/'; bind is NULL while only looking. */
static bool pattern_fits(const char *pattern, const struct segments *s, struct route_match *bind,
                         struct arena *arena)
{
    size_t i = 0;

    while (*pattern == '/') {
        size_t len = strcspn(++pattern, "/");

        if (*pattern == '*') { /* fits "/x" too: the rest is empty then */
            if (i > s->n || i >= SEGMENTS_MAX)
                return false;
            const char *rest = i < s->n ? s->raw[i] : "";
            return !bind || bind_param(bind, pattern + 1, rest, strlen(rest), arena);
        }
        if (i >= s->n || i >= SEGMENTS_MAX)
            return false;
        if (*pattern == ':') {
            if (s->text[i].len == 0)
                return false;
            if (bind && !bind_param(bind, pattern + 1, s->text[i].ptr, s->text[i].len, arena))
                return false;
            // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) -fanalyzer: escapes have scratch
        } else if (s->text[i].len != len || memcmp(s->text[i].ptr, pattern, len) != 0) {
            return false;
        }
        pattern += len;
        i++;
    }
    return i == s->n;
}

static bool method_fits(const char *row, const char *method)
{
    if (strcmp(row, method) == 0 || strcmp(row, "*") == 0)
        return true;
    return strcmp(method, "HEAD") == 0 && strcmp(row, "GET") == 0;
}

static bool list_has(const char *list, const char *method)
{
    size_t len = strlen(method);

    for (const char *p = strstr(list, method); p; p = strstr(p + 1, method)) {
        if ((p == list || p[-1] == ' ') && (p[len] == ',' || p[len] == '\0'))
            return true;
    }
    return false;
}

static void allow(struct route_match *m, const char *method)
{
    size_t used = strlen(m->allow);

    if (list_has(m->allow, method) || used + strlen(method) + 3 > sizeof(m->allow))
        return;
    if (used > 0) {
        memcpy(m->allow + used, ", ", 2);
        used += 2;
    }
    memcpy(m->allow + used, method, strlen(method) + 1);
    if (strcmp(method, "GET") == 0)
        allow(m, "HEAD");
}

/* Parameter names end at '/' in the pattern; lookups compare up to there (http_req_param). */
int route_find(const struct route *routes, size_t n_routes, const char *method,
               const char *raw_path, struct arena *arena, struct route_match *ret, struct err *err)
{
    struct segments s;
    struct route_match m = {0};
    int r = split_path(raw_path, arena, &s, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n_routes && !m.route; i++) {
        if (!pattern_fits(routes[i].pattern, &s, NULL, arena))
            continue;
        bool fits = method_fits(routes[i].method, method);
        /* Preflights are answered for whole subtrees, which says nothing about the paths in them. */
        if (!fits && strcmp(routes[i].method, "OPTIONS") == 0)
            continue;
        m.path_known = true;
        if (fits)
            m.route = &routes[i];
        else
            allow(&m, routes[i].method);
    }
    if (m.route && !pattern_fits(m.route->pattern, &s, &m, arena))
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the path parameters");
    *ret = m;
    return 0;
}
