#include "execd/harden/policy.h"

#include <errno.h>
#include <string.h>

#include "execd/harden/caps.h"
#include "execd/harden/landlock.h"
#include "proto/api/errors.h"

#define REFUSE(err, ...) err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "policy." __VA_ARGS__)
#define NICE_MAX 19
#define PATH_BYTES_MAX 4095
#define NAME_BYTES_MAX 64

/* What the tables below fill; the raw parts are read by the functions under them. */
struct landlock_body {
    struct policy_landlock l;
    json_t *tcp_bind, *tcp_connect;
    struct jstrings scopes;
};
struct body {
    struct policy p;
    struct landlock_body landlock;
    json_t *rlimits;
    const char *seccomp, *network;
    struct jstrings drop_caps;
};

#define PATHS(key, text)                                                                           \
    {                                                                                              \
        .name = #key, .kind = JFIELD_STRINGS, .offset = offsetof(struct landlock_body, l.key),     \
        .has_offset = offsetof(struct landlock_body, l.has_##key), .max = POLICY_PATHS_MAX,        \
        .doc = (text)                                                                              \
    }
static const struct jfield landlock_fields[] = {
    {.name = "tcp_bind",
     .kind = JFIELD_RAW,
     .flags = JFIELD_STRICT,
     .offset = offsetof(struct landlock_body, tcp_bind),
     .doc = "TCP ports that may be bound"},
    JFIELD(struct landlock_body, tcp_connect, JFIELD_RAW, .doc = "TCP ports that may be reached"),
    PATHS(ro, "absolute paths that may be read"),
    PATHS(rw, "absolute paths that may be read and changed"),
    PATHS(exec, "absolute paths that may be read and executed"),
    JFIELD(struct landlock_body, scopes, JFIELD_STRINGS, .max = 8,
           .doc = "signal, abstract_unix_socket: what stays inside"),
};

static const struct jfield policy_fields[] = {
    {.name = "landlock",
     .kind = JFIELD_OBJECT,
     .flags = JFIELD_STRICT,
     .offset = offsetof(struct body, landlock),
     .has_offset = offsetof(struct body, p.has_landlock),
     .sub = landlock_fields,
     .n_sub = ARRAY_LEN(landlock_fields),
     .sub_size = sizeof(struct landlock_body)},
    {.name = "no_new_privs",
     .kind = JFIELD_BOOL,
     .offset = offsetof(struct body, p.no_new_privs),
     .has_offset = offsetof(struct body, p.has_no_new_privs)},
    JFIELD(struct body, rlimits, JFIELD_RAW, .doc = "limits by name: a number, or soft and hard"),
    JFIELD(struct body, seccomp, JFIELD_STRING, .max = NAME_BYTES_MAX,
           .doc = "default or hardened"),
    JFIELD(struct body, network, JFIELD_STRING, .max = NAME_BYTES_MAX, .doc = "default or none"),
    {.name = "nice",
     .kind = JFIELD_U32,
     .offset = offsetof(struct body, p.nice),
     .min = 0,
     .max = NICE_MAX},
    JFIELD(struct body, drop_caps, JFIELD_STRINGS, .max = CAPS_NUMBERS,
           .doc = "capabilities that the command and what it starts can never have"),
};

static const struct {
    const char *name;
    int resource;
} rlimit_names[] = {
    {"as", RLIMIT_AS},         {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},       {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},   {"memlock", RLIMIT_MEMLOCK},
    {"stack", RLIMIT_STACK},   {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},   {"msgqueue", RLIMIT_MSGQUEUE},
    {"rtprio", RLIMIT_RTPRIO}, {"sigpending", RLIMIT_SIGPENDING},
    {"rss", RLIMIT_RSS},       {"rttime", RLIMIT_RTTIME},
    {"nice", RLIMIT_NICE},
};

static const struct {
    const char *name;
    uint64_t bit;
} scope_names[] = {
    {"signal", LANDLOCK_SCOPE_SIGNALS},
    {"abstract_unix_socket", LANDLOCK_SCOPE_ABSTRACT_UNIX},
};

static int check_paths(const char *list, const struct jstrings *paths, struct err *err)
{
    for (size_t i = 0; i < paths->n; i++)
        if (paths->items[i][0] != '/' || strlen(paths->items[i]) > PATH_BYTES_MAX)
            return REFUSE(err, "landlock.%s: '%.150s' is no absolute path", list, paths->items[i]);
    return 0;
}

static int take_ports(const char *list, const json_t *json, struct policy_ports *ports,
                      struct err *err)
{
    if (json == NULL || json_is_null(json))
        return 0;
    if (!json_is_array(json) || json_array_size(json) > POLICY_PORTS_MAX)
        return REFUSE(err, "landlock.%s: expected at most %d ports", list, POLICY_PORTS_MAX);
    ports->given = true;
    for (; ports->n < json_array_size(json); ports->n++) {
        const json_t *item = json_array_get(json, ports->n);
        json_int_t port = json_integer_value(item);
        if (!json_is_integer(item) || port < 0 || port > UINT16_MAX)
            return REFUSE(err, "landlock.%s: expected numbers from 0 to 65535", list);
        ports->port[ports->n] = (uint16_t)port;
    }
    return 0;
}

static int take_scopes(const struct jstrings *names, uint64_t *scopes, struct err *err)
{
    for (size_t i = 0; i < names->n; i++) {
        size_t row = 0;
        while (row < ARRAY_LEN(scope_names) && strcmp(names->items[i], scope_names[row].name) != 0)
            row++;
        if (row == ARRAY_LEN(scope_names))
            return REFUSE(err, "landlock.scopes: expected signal or abstract_unix_socket");
        *scopes |= scope_names[row].bit;
    }
    return 0;
}

static int take_landlock(struct body *b, struct err *err)
{
    struct landlock_body *from = &b->landlock;
    int rc = check_paths("ro", &from->l.ro, err);
    if (rc == 0)
        rc = check_paths("rw", &from->l.rw, err);
    if (rc == 0)
        rc = check_paths("exec", &from->l.exec, err);
    if (rc == 0)
        rc = take_ports("tcp_bind", from->tcp_bind, &from->l.tcp_bind, err);
    if (rc == 0)
        rc = take_ports("tcp_connect", from->tcp_connect, &from->l.tcp_connect, err);
    if (rc == 0)
        rc = take_scopes(&from->scopes, &from->l.scopes, err);
    b->p.landlock = from->l;
    return rc;
}

/* -1 is no limit. */
static bool limit_value(const json_t *json, rlim_t *ret_value)
{
    json_int_t value = json_integer_value(json);
    if (!json_is_integer(json) || value < -1)
        return false;
    *ret_value = value < 0 ? RLIM_INFINITY : (rlim_t)value;
    return true;
}

static bool limit_pair(json_t *json, struct rlimit *ret)
{
    if (!json_is_object(json))
        return limit_value(json, &ret->rlim_cur) && limit_value(json, &ret->rlim_max);
    return json_object_size(json) == 2 &&
           limit_value(json_object_get(json, "soft"), &ret->rlim_cur) &&
           limit_value(json_object_get(json, "hard"), &ret->rlim_max) &&
           ret->rlim_cur <= ret->rlim_max;
}

static int take_rlimits(json_t *json, struct policy *p, struct err *err)
{
    const char *name;
    json_t *value;

    if (json == NULL || json_is_null(json))
        return 0;
    if (!json_is_object(json))
        return REFUSE(err, "rlimits: expected an object");
    json_object_foreach(json, name, value)
    {
        size_t row = 0;
        while (row < ARRAY_LEN(rlimit_names) && strcmp(name, rlimit_names[row].name) != 0)
            row++;
        if (row == ARRAY_LEN(rlimit_names))
            return REFUSE(err, "rlimits: no limit '%.64s'", name);
        struct policy_rlimit *to = &p->rlimits[p->n_rlimits++];
        to->resource = rlimit_names[row].resource;
        if (!limit_pair(value, &to->limit))
            return REFUSE(err, "rlimits.%s: expected a number (-1: none), or soft <= hard", name);
    }
    return 0;
}
_Static_assert(ARRAY_LEN(rlimit_names) <= POLICY_RLIMITS_MAX, "every limit fits once");

static int take_choice(const char *key, const char *value, const char *special, bool *ret,
                       struct err *err)
{
    *ret = value != NULL && strcmp(value, special) == 0;
    if (value != NULL && !*ret && strcmp(value, "default") != 0)
        return REFUSE(err, "%s: expected default or %s", key, special);
    return 0;
}

static int take_caps(const struct jstrings *names, uint64_t *ret_caps, struct err *err)
{
    for (size_t i = 0; i < names->n; i++) {
        int number = caps_by_name(names->items[i]);
        if (number < 0)
            return REFUSE(err, "drop_caps: no capability '%.64s'", names->items[i]);
        *ret_caps |= 1ULL << number;
    }
    return 0;
}

/* The kernel lets only privileged processes confine themselves without it: asked for at once, it cannot be refused. */
static int settle_no_new_privs(struct policy *p, struct err *err)
{
    if (!p->has_landlock && !p->hardened && !p->no_network)
        return 0;
    if (p->has_no_new_privs && !p->no_new_privs)
        return REFUSE(err, "no_new_privs: landlock, seccomp and network need it");
    p->no_new_privs = true;
    return 0;
}

int policy_decode(json_t *json, struct arena *arena, struct policy *ret_policy, struct err *err)
{
    struct body b = {0};
    struct err detail = {0};

    *ret_policy = (struct policy){0};
    if (json == NULL || json_is_null(json))
        return 0;
    if (!json_is_object(json))
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "policy: expected an object");
    if (jfield_decode(policy_fields, ARRAY_LEN(policy_fields), json, &b, arena,
                      ERR_INVALID_REQUEST_BODY, &detail) < 0)
        return REFUSE(err, "%.200s", detail.text);
    b.p.given = true;
    int rc = b.p.has_landlock ? take_landlock(&b, err) : 0;
    if (rc == 0)
        rc = take_rlimits(b.rlimits, &b.p, err);
    if (rc == 0)
        rc = take_choice("seccomp", b.seccomp, "hardened", &b.p.hardened, err);
    if (rc == 0)
        rc = take_choice("network", b.network, "none", &b.p.no_network, err);
    if (rc == 0)
        rc = take_caps(&b.drop_caps, &b.p.drop_caps, err);
    if (rc == 0)
        rc = settle_no_new_privs(&b.p, err);
    if (rc == 0)
        *ret_policy = b.p;
    return rc;
}
