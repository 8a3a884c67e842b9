#include "server/runtime/native/plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"
#include "server/runtime/native/caps.h"

#define NOFILE_SOFT 65536
#define NOFILE_HARD 1048576
#define ENV_MAX 4096 /* variables of one sandbox */
#define ENV_BYTES_MAX                                                                              \
    (1024 * 1024) /* the kernel takes about 2 MiB of arguments and environment together */
#define CPUS_MAX 1024
#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define INNER_ADDRESS "127.0.0.1:44772" /* programs inside find execd there, token needed */

static const struct plan_rlimit rlimits[] = {
    {RLIMIT_CORE, 0, 0},
    {RLIMIT_NOFILE, NOFILE_SOFT, NOFILE_HARD},
};

void plan_init(struct plan *plan)
{
    *plan = (struct plan){.log_fd = -1};
    for (int i = 0; i < TREE_MAX; i++)
        plan->tree[i] = -1;
}

static void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

void plan_done(struct plan *plan)
{
    close_all(plan->tree, TREE_MAX);
    close_all(plan->joins, plan->n_joins);
    close_all(plan->keep, plan->n_keep);
    close_all(&plan->log_fd, 1);
    plan->n_joins = plan->n_keep = 0;
}

/* --- environment --- */

struct env {
    const char **items; /* "NAME=value", NULL-terminated */
    size_t n, bytes;
    struct arena *arena;
};

/* Later values win. Names of our own are only set by us: an image must not tell its agent where to listen. */
static int env_put(struct env *env, const char *name, size_t name_len, const char *value)
{
    char *text = arena_printf(env->arena, "%.*s=%s", (int)name_len, name, value);
    size_t i = 0;

    if (text == NULL)
        return -ENOMEM;
    while (i < env->n && strncmp(env->items[i], text, name_len + 1) != 0)
        i++;
    if (i == ENV_MAX)
        return -E2BIG;
    env->n = MAX(env->n, i + 1);
    env->items[i] = text;
    env->bytes += strlen(text) + 1;
    return env->bytes > ENV_BYTES_MAX ? -E2BIG : 0;
}

static int env_set(struct env *env, const char *name, const char *value)
{
    return env_put(env, name, strlen(name), value);
}

/* Where `set_env` of the SDKs persists variables; a request may name another file (contracts/v1.1.md 1.3). */
#define ENV_FILE_DEFAULT "/opt/opensandbox/.env"

static bool is_ours(const char *name)
{
    if (strcmp(name, "EXECD_ENVS") == 0)
        return false;
    return str_starts(name, "EXECD_") || str_starts(name, "OPENSANDBOX_ID=");
}

static int env_from_image(struct env *env, const struct jstrings *list)
{
    int rc = 0;

    for (size_t i = 0; i < list->n && rc == 0; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (equals != NULL && equals != list->items[i] && !is_ours(list->items[i]))
            rc = env_put(env, list->items[i], (size_t)(equals - list->items[i]), equals + 1);
    }
    return rc;
}

static int env_from_request(struct env *env, const struct jmap *map, struct err *err)
{
    for (size_t i = 0; i < map->n; i++) {
        const char *name = map->items[i].key;
        if (name[0] == '\0' || strchr(name, '=') != NULL)
            return err_set(err, ERR_INVALID_PARAMETER, EINVAL,
                           "env: '%.80s' cannot be the name of a variable", name);
        if (is_ours(name))
            continue;
        int rc = env_set(env, name, map->items[i].value);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int build_env(struct plan *plan, const struct plan_input *in, struct arena *arena,
                     struct err *err)
{
    struct env env = {.items = arena_alloc(arena, (ENV_MAX + 1) * sizeof(char *)), .arena = arena};

    if (env.items == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the environment");
    int rc = env_set(&env, "PATH", PATH_DEFAULT);
    if (rc == 0)
        rc = env_set(&env, "EXECD_ENVS", ENV_FILE_DEFAULT);
    if (rc == 0)
        rc = env_from_image(&env, &in->image->config.env);
    if (rc == 0)
        rc = env_from_request(&env, &in->spec->env, err);
    if (rc == 0)
        rc = env_set(&env, "OPENSANDBOX_ID", in->id);
    if (rc == 0)
        rc = env_set(&env, "EXECD_TOKEN_SHA256", in->token_sha256);
    if (rc == 0 && in->cgroup_fds != NULL)
        rc = env_set(&env, "EXECD_CGROUP_FDS", in->cgroup_fds);
    if (rc == -E2BIG)
        return err_set(err, ERR_INVALID_PARAMETER, E2BIG, "env: more than %d variables or %d bytes",
                       ENV_MAX, ENV_BYTES_MAX);
    if (rc == -ENOMEM)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the environment");
    plan->envp = env.items;
    return rc;
}

/* --- arguments --- */

/* The request's entrypoint, else the image's entrypoint and command; with neither, execd serves alone. */
static int build_argv(struct plan *plan, const struct plan_input *in, struct arena *arena,
                      struct err *err)
{
    const struct image_config *config = &in->image->config;
    bool asked = in->spec->entrypoint.n > 0;
    const struct jstrings none = {0};
    const struct jstrings parts[2] = {asked ? in->spec->entrypoint : config->entrypoint,
                                      asked ? none : config->cmd};
    const char **argv = arena_alloc(arena, (parts[0].n + parts[1].n + 9) * sizeof(char *));
    char *listen = arena_printf(arena, "fd:%d", in->listen_fd);
    size_t n = 0;

    if (argv == NULL || listen == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the entrypoint");
    argv[n++] = PLAN_EXECD;
    argv[n++] = "--listen";
    argv[n++] = listen;
    argv[n++] = "--listen";
    argv[n++] = INNER_ADDRESS;
    if (plan->isolation)
        argv[n++] = "--isolation-grant";
    /* A program that was asked for is what the sandbox is for, and its end the sandbox's; an image's own is often a
     * shell that ends at once. */
    if (asked)
        argv[n++] = "--exit-with-entrypoint";
    if (parts[0].n + parts[1].n > 0)
        argv[n++] = "--";
    for (size_t p = 0; p < ARRAY_LEN(parts); p++) {
        for (size_t i = 0; i < parts[p].n; i++)
            argv[n++] = parts[p].items[i];
    }
    plan->argv = argv;
    return 0;
}

/* --- mounts --- */

struct rows {
    struct mount_row *items;
    size_t n;
};

static size_t thermal_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_CONF);

    if (n <= 0 || access("/sys/devices/system/cpu/cpu0/thermal_throttle", F_OK) < 0)
        return 0;
    return (size_t)MIN(n, CPUS_MAX);
}

static bool add_row(struct rows *rows, struct mount_row row)
{
    rows->items[rows->n++] = row;
    return row.target != NULL && (row.kind != MOUNT_TEXT || row.source != NULL);
}

/* "size=@tmp" → "size=67108864" */
static const char *fill_options(const char *options, uint64_t tmp_bytes, struct arena *arena)
{
    const char *at = strstr(options, "@tmp");

    if (at == NULL)
        return options;
    return arena_printf(arena, "%.*s%llu%s", (int)(at - options), options,
                        (unsigned long long)tmp_bytes, at + strlen("@tmp"));
}

static const char *hosts_text(const char *hostname, struct arena *arena)
{
    return arena_printf(
        arena, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n",
        hostname);
}

static int build_mounts(struct plan *plan, const struct plan_input *in, struct arena *arena,
                        struct err *err)
{
    size_t cpus = thermal_cpus();
    struct rows rows = {.items =
                            arena_alloc(arena, (mounts_n + cpus + 8) * sizeof(struct mount_row))};
    bool ok = rows.items != NULL;

    for (size_t i = 0; i < mounts_n && ok; i++) {
        struct mount_row row = mounts_table[i];
        if (row.options != NULL)
            row.options = fill_options(row.options, in->tmp_bytes, arena);
        ok = add_row(&rows, row) && (mounts_table[i].options == NULL || row.options != NULL);
    }
    for (size_t i = 0; i < cpus && ok; i++)
        ok = add_row(
            &rows, (struct mount_row){.kind = MOUNT_MASK,
                                      .base = BASE_SYS,
                                      .target = arena_printf(
                                          arena, "devices/system/cpu/cpu%zu/thermal_throttle", i)});
    ok = ok &&
         add_row(&rows, (struct mount_row){.kind = MOUNT_DIR, .target = "etc", .mode = 0755}) &&
         add_row(&rows, (struct mount_row){.kind = MOUNT_TEXT,
                                           .target = "etc/hosts",
                                           .mode = 0644,
                                           .source = hosts_text(plan->hostname, arena)}) &&
         add_row(&rows, (struct mount_row){.kind = MOUNT_TEXT,
                                           .target = "etc/hostname",
                                           .mode = 0644,
                                           .source = arena_printf(arena, "%s\n", plan->hostname)});
    if (ok && plan->cwd[1] != '\0')
        ok = add_row(&rows,
                     (struct mount_row){.kind = MOUNT_DIR, .target = plan->cwd + 1, .mode = 0755});
    if (!ok)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the mount plan");
    plan->mounts = rows.items;
    plan->n_mounts = rows.n;
    return 0;
}

bool plan_wants_isolation(const struct sandbox_spec *spec)
{
    for (size_t i = 0; i < spec->extensions.n; i++)
        if (strcmp(spec->extensions.items[i].key, "bootstrap.execd.isolation") == 0)
            return strcmp(spec->extensions.items[i].value, "enable") == 0;
    return false;
}

int plan_build(struct plan *plan, const struct plan_input *in, struct arena *arena, struct err *err)
{
    const char *dir = in->image->config.working_dir;

    plan->id = in->id;
    plan->hostname = arena_strndup(arena, in->id, MIN(strlen(in->id), PLAN_HOSTNAME_MAX));
    plan->cwd = dir != NULL && dir[0] != '\0' ? arena_strndup(arena, dir, strlen(dir)) : "/";
    if (plan->hostname == NULL || plan->cwd == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the plan");
    plan->isolation = plan_wants_isolation(in->spec);
    plan->rlimits = rlimits;
    plan->n_rlimits = ARRAY_LEN(rlimits);
    int rc = build_argv(plan, in, arena, err);
    if (rc == 0)
        rc = build_env(plan, in, arena, err);
    return rc < 0 ? rc : build_mounts(plan, in, arena, err);
}

/* --- validation --- */

/* Relative, not empty, no empty or dot components: it can only name something below its base. */
static bool is_below(const char *target)
{
    if (target == NULL || target[0] == '\0')
        return false;
    for (const char *part = target;; part++) {
        size_t len = strcspn(part, "/");
        if (len == 0 || (len == 1 && part[0] == '.') ||
            (len == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += len;
        if (*part == '\0')
            return true;
    }
}

static const char *row_fault(const struct plan *plan, const struct mount_row *row, unsigned opened)
{
    if (row->base >= BASE_MAX || (opened & 1U << row->base) == 0)
        return "its base is not mounted yet";
    if (!is_below(row->target))
        return "its target is not a clean relative path";
    if ((row->kind == MOUNT_FS || row->kind == MOUNT_LINK || row->kind == MOUNT_TEXT) &&
        row->source == NULL)
        return "it has no source";
    if (row->kind == MOUNT_TREE && (row->tree >= TREE_MAX || plan->tree[row->tree] < 0))
        return "its tree was not prepared";
    if (row->kind == MOUNT_FS && (row->attr & MOUNT_ATTR_NOSUID) == 0)
        return "a file system without nosuid";
    return NULL;
}

static int check_mounts(const struct plan *plan, struct err *err)
{
    unsigned opened = 1U << BASE_ROOT;

    for (size_t i = 0; i < plan->n_mounts; i++) {
        const struct mount_row *row = &plan->mounts[i];
        const char *fault = row_fault(plan, row, opened);
        if (fault != NULL)
            return err_set(err, 0, EINVAL, "mount %zu ('%.100s'): %s", i,
                           row->target != NULL ? row->target : "", fault);
        if (row->kind == MOUNT_FS && row->opens != BASE_ROOT)
            opened |= 1U << row->opens;
    }
    return 0;
}

int plan_validate(const struct plan *plan, struct err *err)
{
    size_t host_len = strlen(plan->hostname);

    if (host_len == 0 || host_len > PLAN_HOSTNAME_MAX || strchr(plan->hostname, '\n') != NULL)
        return err_set(err, 0, EINVAL, "'%.80s' cannot be a host name", plan->hostname);
    if (plan->argv == NULL || plan->argv[0] == NULL || plan->argv[0][0] != '/')
        return err_set(err, 0, EINVAL, "the program to start has no absolute path");
    if (plan->cwd[0] != '/' || (plan->cwd[1] != '\0' && !is_below(plan->cwd + 1)))
        return err_set(err, ERR_SANDBOX_START_FAILED, EINVAL,
                       "the image's WorkingDir '%.150s' is not a clean absolute path", plan->cwd);
    if (plan->tree[TREE_LOWER] < 0 || plan->tree[TREE_FS] < 0 || plan->log_fd < 0)
        return err_set(err, 0, EINVAL, "the root file system was not prepared");
    if (plan->seccomp == NULL || plan->n_rlimits == 0 ||
        (caps_mask() & UINT64_C(1) << 21) != 0) /* CAP_SYS_ADMIN */
        return err_set(err, 0, EINVAL, "the confinement is incomplete");
    return check_mounts(plan, err);
}
