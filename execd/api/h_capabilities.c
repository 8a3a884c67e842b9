/* GET /capabilities: what this kernel and this container give to the agent and to policies. */
#include "execd/api/api.h"
#include "execd/harden/caps.h"
#include "execd/harden/features.h"
#include "execd/harden/landlock.h"
#include "execd/proc/leaf.h"
#include "execd/proc/probe.h"
#include "proto/api/errors.h"
#include "proto/base/version.h"
#include "proto/http/resp.h"

struct landlock_view {
    int64_t abi;
    bool files, tcp, scopes;
};
struct cgroup_view {
    const char *mode;
    bool leaves;
};
struct view {
    const char *version, *kernel, *machine;
    struct landlock_view landlock;
    struct cgroup_view cgroup;
    struct features f;
    struct probe p;
    bool code;
};

static const struct jfield landlock_fields[] = {
    JFIELD(struct landlock_view, abi, JFIELD_I64),
    JFIELD(struct landlock_view, files, JFIELD_BOOL),
    JFIELD(struct landlock_view, tcp, JFIELD_BOOL),
    JFIELD(struct landlock_view, scopes, JFIELD_BOOL),
};
static const struct jfield cgroup_fields[] = {
    JFIELD(struct cgroup_view, mode, JFIELD_STRING),
    JFIELD(struct cgroup_view, leaves, JFIELD_BOOL),
};
static const struct jfield seccomp_fields[] = {
    {.name = "filters", .kind = JFIELD_BOOL, .offset = offsetof(struct features, seccomp)},
    {.name = "active", .kind = JFIELD_BOOL, .offset = offsetof(struct features, filtered)},
};
static const struct jfield namespace_fields[] = {
    {.name = "user", .kind = JFIELD_BOOL, .offset = offsetof(struct probe, user_namespace)},
    {.name = "mount", .kind = JFIELD_BOOL, .offset = offsetof(struct probe, mount_namespace)},
    {.name = "pid", .kind = JFIELD_BOOL, .offset = offsetof(struct probe, pid_namespace)},
    {.name = "network", .kind = JFIELD_BOOL, .offset = offsetof(struct probe, network_namespace)},
};
static const struct jfield call_fields[] = {
    JFIELD(struct features, clone3, JFIELD_BOOL),
    JFIELD(struct features, pidfd, JFIELD_BOOL),
    JFIELD(struct features, close_range, JFIELD_BOOL),
    JFIELD(struct features, openat2, JFIELD_BOOL),
};

#define OBJECT(key, member, fields)                                                                \
    {                                                                                              \
        .name = (key), .kind = JFIELD_OBJECT, .offset = offsetof(struct view, member),             \
        .sub = (fields), .n_sub = ARRAY_LEN(fields)                                                \
    }
#define FLAG(key, member)                                                                          \
    {                                                                                              \
        .name = (key), .kind = JFIELD_BOOL, .offset = offsetof(struct view, member)                \
    }
static const struct jfield view_fields[] = {
    JFIELD(struct view, version, JFIELD_STRING),
    JFIELD(struct view, kernel, JFIELD_STRING),
    JFIELD(struct view, machine, JFIELD_STRING),
    OBJECT("landlock", landlock, landlock_fields),
    OBJECT("seccomp", f, seccomp_fields),
    OBJECT("cgroup", cgroup, cgroup_fields),
    OBJECT("namespaces", p, namespace_fields),
    OBJECT("calls", f, call_fields),
    FLAG("overlay", p.overlay),
    FLAG("no_new_privs", f.no_new_privs),
    FLAG("psi", f.psi),
    FLAG("pty", f.pty),
    FLAG("sock_diag", f.sock_diag),
    FLAG("code", code),
};

static json_t *names_of(uint64_t caps)
{
    json_t *list = json_array();
    for (int number = 0; list != NULL && number < CAPS_NUMBERS; number++)
        if ((caps >> number & 1) != 0 && caps_name(number) != NULL &&
            json_array_append_new(list, json_string(caps_name(number))) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *encode(const struct view *v)
{
    json_t *json = jfield_encode(view_fields, ARRAY_LEN(view_fields), v);
    json_t *caps = json_pack("{s:o, s:o}", "effective", names_of(v->f.caps_effective), "bounding",
                             names_of(v->f.caps_bounding));
    if (json == NULL || json_object_set_new(json, "capabilities", caps) < 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

enum http_result h_capabilities(struct http_req *req, void *app)
{
    const struct api *api = app;
    struct view v = {
        .version = version_text(),
        .cgroup = {.mode = leaf_mode(), .leaves = leaf_has_groups()},
        .code = api->code != NULL,
    };
    struct err err = {0};

    if (probe_namespaces(&v.p, &err) < 0)
        return http_resp_error(req, &err);
    features_find(&v.f);
    v.kernel = v.f.release;
    v.machine = v.f.machine;
    v.landlock = (struct landlock_view){
        .abi = v.f.landlock_abi,
        .files = v.f.landlock_abi > 0,
        .tcp = v.f.landlock_abi >= LANDLOCK_ABI_NET,
        .scopes = v.f.landlock_abi >= LANDLOCK_ABI_SCOPE,
    };
    json_t *json = encode(&v);
    return json != NULL ? http_resp_json(req, 200, json)
                        : http_resp_fail(req, ERR_OUT_OF_MEMORY, "no memory for the answer");
}
