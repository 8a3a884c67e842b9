#include "execd/isolate/request.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/proc/users.h"
#include "proto/api/errors.h"
#include "proto/base/path.h"
#include "proto/base/str.h"

#define IDLE_MAX_S (366 * 24 * 3600)
#define GROUPS_MAX 64

#define OVERLAY(member, kind, ...) JFIELD(struct isolate_overlay, member, kind, __VA_ARGS__)
#define BIND(member, kind, ...) JFIELD(struct isolate_bind, member, kind, __VA_ARGS__)
#define ENV(member, kind, ...) JFIELD(struct isolate_env, member, kind, __VA_ARGS__)
#define REQUEST(member, kind, ...) JFIELD(struct isolate_request, member, kind, __VA_ARGS__)
#define HAS(member) .has_offset = offsetof(struct isolate_request, has_##member)
#define EMPTY .flags = JFIELD_OMIT_EMPTY

static const struct jfield overlay_fields[] = {
    OVERLAY(path, JFIELD_STRING, .max = 4095, .flags = JFIELD_REQUIRED, .doc = "directory"),
    OVERLAY(mode, JFIELD_STRING, .max = 16, .doc = "overlay, rw or ro"),
    OVERLAY(persist, JFIELD_BOOL, .has_offset = offsetof(struct isolate_overlay, has_persist),
            .doc = "false: in memory, gone with the session"),
};

static const struct jfield bind_fields[] = {
    BIND(source, JFIELD_STRING, .max = 4095, .flags = JFIELD_REQUIRED),
    BIND(dest, JFIELD_STRING, .max = 4095),
    BIND(readonly, JFIELD_BOOL),
};

static const struct jfield env_fields[] = {
    ENV(mode, JFIELD_STRING, .max = 16, .doc = "deny or allow"),
    ENV(keys, JFIELD_STRINGS, .max = 1000),
};

static const struct jfield request_fields[] = {
    REQUEST(profile, JFIELD_STRING, .max = 16),
    REQUEST(workspace, JFIELD_OBJECT, HAS(workspace), EMPTY, .sub = overlay_fields,
            .n_sub = ARRAY_LEN(overlay_fields)),
    REQUEST(overlays, JFIELD_OBJECTS, .max = ISOLATE_MOUNTS_MAX, .sub = overlay_fields,
            .n_sub = ARRAY_LEN(overlay_fields), .sub_size = sizeof(struct isolate_overlay)),
    REQUEST(extra_writable, JFIELD_STRINGS, EMPTY, .max = ISOLATE_MOUNTS_MAX),
    REQUEST(binds, JFIELD_OBJECTS, EMPTY, .max = ISOLATE_MOUNTS_MAX, .sub = bind_fields,
            .n_sub = ARRAY_LEN(bind_fields), .sub_size = sizeof(struct isolate_bind)),
    REQUEST(share_net, JFIELD_BOOL, HAS(share_net)),
    REQUEST(env_passthrough, JFIELD_OBJECT, .sub = env_fields, .n_sub = ARRAY_LEN(env_fields)),
    REQUEST(uid, JFIELD_U32, HAS(uid), EMPTY),
    REQUEST(gid, JFIELD_U32, HAS(gid), EMPTY),
    REQUEST(uid_mode, JFIELD_STRING, .max = 16),
    REQUEST(idle_timeout_seconds, JFIELD_I64, .min = 0, .max = IDLE_MAX_S),
};

static int bad(struct err *err, const char *fmt, ...) printf_like(2, 3);
static int bad(struct err *err, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "%s", text);
}

static int choose(const char **value, const char *first, const char *second, const char *name,
                  struct err *err)
{
    if (*value == NULL)
        *value = first;
    if (strcmp(*value, first) == 0 || strcmp(*value, second) == 0)
        return 0;
    return bad(err, "%s: expected %s or %s, got '%.40s'", name, first, second, *value);
}

static int check_path(const char *name, const char *path, struct err *err)
{
    static const char *const reserved[] = {"/proc", "/sys", "/dev"};
    char clean[PATH_MAX];

    if (path[0] != '/' || path_clean(path, clean) < 0 || strcmp(path, clean) != 0)
        return bad(err, "%s: '%.150s' is not an absolute, clean path", name, path);
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        size_t len = strlen(reserved[i]);
        if (strncmp(path, reserved[i], len) == 0 && (path[len] == '\0' || path[len] == '/'))
            return bad(err, "%s: '%.150s' lies in %s, which every session has its own of", name,
                       path, reserved[i]);
    }
    if (path[1] == '\0')
        return bad(err, "%s: '/' itself cannot be given", name);
    return 0;
}

/* ---- defaults and rules ---- */

static int settle_overlay(struct isolate_overlay *o, struct err *err)
{
    struct stat st;

    if (o->mode == NULL)
        o->mode = "overlay";
    bool is_overlay = strcmp(o->mode, "overlay") == 0;
    if (!is_overlay && strcmp(o->mode, "rw") != 0 && strcmp(o->mode, "ro") != 0)
        return bad(err, "overlays: mode of '%.100s': expected overlay, rw or ro, got '%.40s'",
                   o->path, o->mode);
    if (o->has_persist && !is_overlay)
        return bad(err, "overlays: persist of '%.100s' is only for mode overlay", o->path);
    o->persist = o->has_persist ? o->persist : is_overlay;
    int rc = check_path("overlays", o->path, err);
    if (rc == 0 && (stat(o->path, &st) < 0 || !S_ISDIR(st.st_mode)))
        return bad(err, "overlays: '%.150s' is no directory", o->path);
    return rc;
}

static int settle_overlays(struct isolate_request *r, struct arena *arena, struct err *err)
{
    if (r->overlays.n == 0 && !r->has_workspace)
        return bad(err, "workspace or overlays must be given");
    if (r->overlays.n == 0) {
        r->overlays = (struct jobjects){arena_alloc(arena, sizeof(r->workspace)), 1};
        if (r->overlays.items == NULL)
            return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory");
        memcpy(r->overlays.items, &r->workspace, sizeof(r->workspace));
    }
    struct isolate_overlay *rows = r->overlays.items;
    for (size_t i = 0; i < r->overlays.n; i++) {
        int rc = settle_overlay(&rows[i], err);
        if (rc < 0)
            return rc;
    }
    r->has_workspace = r->overlays.n == 1;
    r->workspace = rows[0];
    return 0;
}

int isolate_request_decode(const char *text, size_t len, struct arena *arena,
                           struct isolate_request *r, struct err *err)
{
    int rc = jfield_decode_text(request_fields, ARRAY_LEN(request_fields), text, len, false, r,
                                arena, ERR_INVALID_REQUEST_BODY, NULL, err);
    if (rc == 0)
        rc = choose(&r->profile, "strict", "balanced", "profile", err);
    if (rc == 0)
        rc = choose(&r->uid_mode, "setpriv", "userns", "uid_mode", err);
    if (rc == 0)
        rc = choose(&r->env_passthrough.mode, "deny", "allow", "env_passthrough.mode", err);
    if (rc == 0 && r->has_gid && !r->has_uid)
        rc = bad(err, "uid is required when gid is provided");
    if (rc < 0)
        return rc;
    if (!r->has_share_net)
        r->share_net = true;
    struct isolate_bind *binds = r->binds.items;
    for (size_t i = 0; i < r->binds.n; i++)
        if (binds[i].dest == NULL)
            binds[i].dest = binds[i].source;
    return settle_overlays(r, arena, err);
}

json_t *isolate_request_echo(const struct isolate_request *request)
{
    return jfield_encode(request_fields, ARRAY_LEN(request_fields), request);
}

/* ---- the plan ---- */

struct planner {
    const char *const *allowed;
    struct arena *arena;
    struct isolate_plan *plan;
    size_t n;
};

static bool lies_in(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    while (len > 0 && dir[len - 1] == '/')
        len--;
    return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static int check_allowed(const struct planner *p, const char *name, const char *path,
                         struct err *err)
{
    char real[PATH_MAX];

    if (realpath(path, real) == NULL)
        return bad(err, "%s: '%.150s': %s", name, path, strerror(errno));
    for (size_t i = 0; p->allowed[i] != NULL; i++)
        if (lies_in(real, p->allowed[i]))
            return 0;
    return bad(err, "%s: '%.150s' lies in none of the allowed directories", name, path);
}

/* Sorted by path, so that what lies inside comes later; each path once. */
static int add_mount(struct planner *p, const struct isolate_mount *m, struct err *err)
{
    struct isolate_mount *mounts = p->plan->mounts.items;
    size_t at = p->n;

    for (size_t i = 0; i < p->n; i++)
        if (strcmp(mounts[i].path, m->path) == 0)
            return bad(err, "'%.150s' is given twice", m->path);
    if (p->n == ISOLATE_MOUNTS_MAX)
        return bad(err, "more than %d mounts", ISOLATE_MOUNTS_MAX);
    for (; at > 0 && strcmp(mounts[at - 1].path, m->path) > 0; at--)
        mounts[at] = mounts[at - 1];
    mounts[at] = *m;
    p->plan->mounts.n = ++p->n;
    return 0;
}

static int plan_overlays(struct planner *p, const struct isolate_request *r, const char *store,
                         struct err *err)
{
    const struct isolate_overlay *rows = r->overlays.items;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->overlays.n; i++) {
        struct isolate_mount m = {
            .kind = rows[i].mode, .path = rows[i].path, .source = rows[i].path};
        if (rows[i].persist) {
            m.upper = arena_printf(p->arena, "%s/%zu", store, i);
            if (m.upper == NULL)
                return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory");
        }
        rc = add_mount(p, &m, err);
    }
    return rc;
}

static int plan_writable(struct planner *p, const struct isolate_request *r, struct err *err)
{
    const struct isolate_bind *binds = r->binds.items;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->extra_writable.n; i++) {
        const char *path = r->extra_writable.items[i];
        rc = check_path("extra_writable", path, err);
        if (rc == 0)
            rc = check_allowed(p, "extra_writable", path, err);
        if (rc == 0)
            rc = add_mount(p, &(struct isolate_mount){"rw", path, path, NULL}, err);
    }
    for (size_t i = 0; rc == 0 && i < r->binds.n; i++) {
        rc = check_path("binds", binds[i].source, err);
        if (rc == 0)
            rc = check_path("binds", binds[i].dest, err);
        if (rc == 0)
            rc = check_allowed(p, "binds", binds[i].source, err);
        if (rc == 0 && access(binds[i].dest, F_OK) < 0)
            rc = bad(err, "binds: dest '%.150s': %s", binds[i].dest, strerror(errno));
        if (rc == 0)
            rc = add_mount(p,
                           &(struct isolate_mount){binds[i].readonly ? "ro" : "rw", binds[i].dest,
                                                   binds[i].source, NULL},
                           err);
    }
    return rc;
}

static int plan_groups(struct planner *p, const struct user *user, struct err *err)
{
    gid_t groups[GROUPS_MAX];
    int n = users_groups(user->name, p->plan->gid, groups, GROUPS_MAX);

    if (n < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -n, "groups of uid %u", p->plan->uid);
    p->plan->groups.items = arena_alloc(p->arena, ((size_t)n + 1) * sizeof(char *));
    for (int i = 0; p->plan->groups.items != NULL && i < n; i++)
        p->plan->groups.items[i] = arena_printf(p->arena, "%u", groups[i]);
    if (p->plan->groups.items == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory");
    p->plan->groups.n = (size_t)n;
    return 0;
}

static int plan_user(struct planner *p, const struct isolate_request *r, struct err *err)
{
    struct user user;

    if (!r->has_uid)
        return 0;
    int rc = users_by_uid(r->uid, &user);
    if (rc < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -rc, "look up uid %u", r->uid);
    p->plan->has_uid = true;
    p->plan->uid = r->uid;
    p->plan->gid = r->has_gid ? r->gid : user.gid;
    return user.known ? plan_groups(p, &user, err) : 0;
}

int isolate_request_plan(const struct isolate_request *r, const char *const *allowed,
                         const char *store, struct arena *arena, struct isolate_plan *plan,
                         struct err *err)
{
    struct planner p = {.allowed = allowed, .arena = arena, .plan = plan};

    *plan = (struct isolate_plan){
        .strict = strcmp(r->profile, "strict") == 0,
        .share_net = r->share_net,
        .userns = strcmp(r->uid_mode, "userns") == 0 && r->has_uid,
        .env_allow = strcmp(r->env_passthrough.mode, "allow") == 0,
        .env_keys = r->env_passthrough.keys,
        .mounts = {arena_alloc(arena, ISOLATE_MOUNTS_MAX * sizeof(struct isolate_mount)), 0},
    };
    if (plan->mounts.items == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "out of memory");
    int rc = plan_overlays(&p, r, store, err);
    if (rc == 0)
        rc = plan_writable(&p, r, err);
    return rc == 0 ? plan_user(&p, r, err) : rc;
}
