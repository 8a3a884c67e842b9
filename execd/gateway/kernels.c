#include "execd/gateway/kernels.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/gateway/specs.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/ids.h"
#include "proto/base/path.h"

/* ---- models ---- */

void kernels_format_time(int64_t wall_us, char *buf)
{
    char whole[CLOCK_RFC3339_MAX];
    int64_t us = wall_us % 1000000;
    clock_format_us(wall_us - us, whole); /* without a fraction */
    (void)snprintf(buf, CLOCK_RFC3339_MAX, "%.*s.%06dZ", (int)strcspn(whole, "Z"), whole,
                   (int)us); /* fits */
}

json_t *kernels_model(const struct code_context *ctx)
{
    char active[CLOCK_RFC3339_MAX];
    struct code_death death = {0};
    (void)code_context_death(ctx, &death); /* mostly there is none */
    kernels_format_time(code_context_active_us(ctx), active);
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s*}", "id", code_context_id(ctx), "name",
                     code_context_spec(ctx), "last_activity", active, "execution_state",
                     code_state_name(code_context_state(ctx)), "connections",
                     (int)code_context_n_clients(ctx), "reason", death.evalue);
}

json_t *kernels_list(struct code_manager *m)
{
    cleanup_json json_t *list = json_array();
    struct code_context *ctx = NULL;
    while ((ctx = code_context_next(m, ctx)) != NULL)
        if (json_array_append_new(list, kernels_model(ctx)) < 0)
            return NULL;
    return take_ptr(&list);
}

/* ---- starting ---- */

static const char *env_value(const struct jmap *env, const char *key)
{
    const char *value = NULL;
    for (size_t i = 0; i < env->n; i++)
        if (strcmp(env->items[i].key, key) == 0)
            value = env->items[i].value;
    return value;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The nearest folder above (or at) root/path that exists. A client's path may be that of a notebook it only knows. */
static int nearest_folder(const char *root, const char *path, char out[PATH_MAX], struct err *err)
{
    char below[PATH_MAX], rooted[PATH_MAX];
    if (snprintf(rooted, sizeof(rooted), "/%s", path) >= (int)sizeof(rooted) ||
        path_clean(rooted, below) < 0 ||
        snprintf(out, PATH_MAX, "%s%s", strcmp(root, "/") != 0 ? root : "", below) >= PATH_MAX)
        return err_set(err, ERR_INVALID_REQUEST_BODY, ENAMETOOLONG, "path: longer than %d bytes",
                       PATH_MAX - 1);
    while (strcmp(out, "/") != 0 && !is_folder(out)) {
        char *slash = strrchr(out, '/');
        slash[slash == out ? 1 : 0] = '\0';
    }
    return 0;
}

static bool take_absolute(const char *path, char out[PATH_MAX])
{
    bool good = path != NULL && path[0] == '/' && strlen(path) < PATH_MAX && is_folder(path);
    if (good)
        (void)snprintf(out, PATH_MAX, "%s", path); /* fits */
    return good;
}

int kernels_folder(const struct kernels_config *config, const char *path, char out[PATH_MAX],
                   struct err *err)
{
    return take_absolute(path, out)
               ? 0
               : nearest_folder(config->root, path != NULL ? path : "", out, err);
}

/* KERNEL_WORKING_DIR is a folder of the client's machine, which may or may not be here too. */
static int choose_cwd(const struct kernels_config *config, const struct kernels_request *request,
                      char out[PATH_MAX], struct err *err)
{
    if (take_absolute(env_value(&request->env, "KERNEL_WORKING_DIR"), out))
        return 0;
    return nearest_folder(config->root, request->path != NULL ? request->path : "", out, err);
}

/* The client's variables and the one that tells programs where they run, which no client overrides. */
static int make_env(const struct jmap *given, struct arena *arena, struct jmap *ret_env,
                    struct err *err)
{
    struct jmap env = {.items = arena_alloc(arena, (given->n + 1) * sizeof(struct jpair))};
    if (env.items == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the environment");
    for (size_t i = 0; i < given->n; i++)
        if (strcmp(given->items[i].key, "KERNEL_GATEWAY") != 0)
            env.items[env.n++] = given->items[i];
    env.items[env.n++] = (struct jpair){"KERNEL_GATEWAY", "1"};
    *ret_env = env;
    return 0;
}

/* The name of the spec to start. */
static int choose_spec(struct code_manager *m, const struct kernels_config *config,
                       const char *wanted, struct arena *arena, const char **ret_name,
                       struct err *err)
{
    char known[100];
    int r = 0;
    const char *name = wanted != NULL && wanted[0] ? wanted : "python3";
    struct kernelspecs *specs = code_kernelspecs(m);
    const struct kernelspec *spec = specs_find(specs, wanted, config->default_spec);
    kernelspecs_known(specs, known, sizeof(known));
    if (spec != NULL)
        *ret_name = arena_strndup(arena, spec->name, strlen(spec->name));
    else if (specs->is_cut || kernelspecs_broken(specs, name) != NULL)
        r = code_refuse_spec(specs, name, true, err);
    else
        r = err_set(err, ERR_KERNELSPEC_NOT_FOUND, ENOENT,
                    "No such kernel named %.64s (found: %s); " KERNELSPEC_HINT, name, known);
    kernelspecs_free(specs);
    if (r < 0)
        return r;
    return *ret_name != NULL ? 0 : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for a name");
}

/* The id that is asked for: one in the body must be good, one in the environment is only a wish. */
static int choose_id(struct code_manager *m, const struct kernels_request *request,
                     const char **ret_id, struct err *err)
{
    const char *wish = env_value(&request->env, "KERNEL_ID");
    *ret_id = request->kernel_id != NULL && request->kernel_id[0] ? request->kernel_id : NULL;
    if (*ret_id != NULL && !ids_is_uuid(*ret_id))
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "kernel_id: not a UUID");
    if (*ret_id == NULL && wish != NULL && ids_is_uuid(wish) && code_context_find(m, wish) == NULL)
        *ret_id = wish;
    return 0;
}

int kernels_start(struct code_manager *m, const struct kernels_config *config,
                  const struct kernels_request *request, struct arena *arena,
                  struct code_context **ret_ctx, struct err *err)
{
    struct code_context_options options = {0};
    struct jmap env;
    char cwd[PATH_MAX];
    int r = choose_id(m, request, &options.id, err);
    if (r < 0)
        return r;
    struct code_context *known = options.id != NULL ? code_context_find(m, options.id) : NULL;
    if (known != NULL) {
        *ret_ctx = known;
        return 0;
    }
    if ((r = choose_spec(m, config, request->name, arena, &options.spec, err)) < 0 ||
        (r = choose_cwd(config, request, cwd, err)) < 0 ||
        (r = make_env(&request->env, arena, &env, err)) < 0)
        return r;
    options.cwd = cwd;
    options.envs = &env;
    options.keep_dead = true; /* the client is told of it before it starts */
    r = code_context_create(m, &options, NULL, NULL, ret_ctx, err);
    if (r < 0 && err->code == ERR_TOO_MANY_CONTEXTS)
        err->code = ERR_KERNEL_LIMIT;
    return r;
}
