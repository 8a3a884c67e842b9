#include "execd/code/kernel_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "execd/proc/environment.h"
#include "execd/proc/spawn.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/path.h"

/* Wins over everything: 1 keeps ipykernel from watching a parent that is PID 1 (contracts/jupyter.md 1.12). */
static const struct jpair forced_env[] = {{"JPY_PARENT_PID", "1"}};

/* Only where nobody has set them. */
static const struct jpair default_env[] = {
    {"LANG", "C.UTF-8"},
    {"HOME", "/"},
    {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
    {"PYDEVD_DISABLE_FILE_VALIDATION", "1"}, /* no "frozen modules" noise on stderr */
};

static bool has_key(const struct jmap *map, const char *key)
{
    for (size_t i = 0; map && i < map->n; i++)
        if (strcmp(map->items[i].key, key) == 0)
            return true;
    return false;
}

static void put(struct jmap *map, const char *key, const char *value)
{
    if (!has_key(map, key))
        map->items[map->n++] = (struct jpair){key, value};
}

/* forced > request > kernelspec > execd's own > defaults. */
static int build_environment(const struct kernel_plan *plan, struct arena *arena,
                             const char *const **ret_envp, struct err *err)
{
    const struct jmap *spec_env = &plan->spec->env;
    const char *const *own;
    int r = environment_build(arena, NULL, &own, err);
    if (r < 0)
        return r;
    size_t max = ARRAY_LEN(forced_env) + ARRAY_LEN(default_env) + spec_env->n +
                 (plan->envs ? plan->envs->n : 0);
    struct jmap overlay = {.items = arena_alloc(arena, max * sizeof(struct jpair))};
    if (!overlay.items)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the environment");
    for (size_t i = 0; i < ARRAY_LEN(forced_env); i++)
        put(&overlay, forced_env[i].key, forced_env[i].value);
    for (size_t i = 0; plan->envs && i < plan->envs->n; i++)
        put(&overlay, plan->envs->items[i].key, plan->envs->items[i].value);
    for (size_t i = 0; i < spec_env->n; i++) {
        const char *value = kernelspec_env_value(spec_env->items[i].value, own, arena);
        if (!value)
            return err_set(err, ERR_KERNEL_UNAVAILABLE, EINVAL, "kernelspec: env.%s is too long",
                           spec_env->items[i].key);
        put(&overlay, spec_env->items[i].key, value);
    }
    for (size_t i = 0; i < ARRAY_LEN(default_env); i++)
        if (!environment_get(own, default_env[i].key))
            put(&overlay, default_env[i].key, default_env[i].value);
    return environment_build(arena, &overlay, ret_envp, err);
}

/* A context's folder is made on demand, as upstream does. */
static int enter_cwd(const char *cwd, const char *const *envp, struct arena *arena,
                     const char **ret_cwd, struct err *err)
{
    if (cwd && cwd[0] == '/' && cwd[1] && !strchr(cwd, '$')) {
        cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        (void)!path_mkdirs_in_root(root, cwd + 1, 0755); /* the check below names what is wrong */
    }
    return environment_resolve_cwd(arena, cwd, envp, ret_cwd, err);
}

static int spawn_with(const struct kernel_plan *plan, const char *connection_file,
                      struct arena *arena, int out_fd, struct kernel_process *process,
                      struct err *err)
{
    const char *const *envp, *const *argv, *const *candidates;
    const char *cwd = NULL;
    int r = build_environment(plan, arena, &envp, err);
    if (r >= 0)
        r = enter_cwd(plan->cwd, envp, arena, &cwd, err);
    if (r < 0)
        return r;
    argv = kernelspec_argv(plan->spec, connection_file, arena);
    if (!argv)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the arguments");
    r = spawn_resolve(argv[0], envp, cwd, arena, &candidates, err);
    if (r < 0)
        return r;
    struct spawn_plan spawn;
    plan_init(&spawn);
    spawn.candidates = candidates;
    spawn.argv = argv;
    spawn.envp = envp;
    spawn.cwd = cwd;
    spawn.fds[spawn.n_fds++] = (struct plan_fd){-1, 0};
    spawn.fds[spawn.n_fds++] = (struct plan_fd){out_fd, 1};
    spawn.fds[spawn.n_fds++] = (struct plan_fd){out_fd, 2};
    spawn.death_signal = SIGKILL; /* nobody else would end it where execd is not PID 1 */
    leaf_add_to_plan(process->leaf, &spawn);
    r = spawn_process(&spawn, &process->ref, err);
    if (r >= 0 && cwd)
        (void)snprintf(process->cwd, sizeof(process->cwd), "%s",
                       cwd); /* PATH_MAX is checked by the resolver */
    return r;
}

int kernel_process_start(const struct kernel_plan *plan, const char *connection_file,
                         struct kernel_process *ret_process, struct err *err)
{
    static unsigned long n_started;
    char name[32];
    int fds[2];
    int r = fd_pipe(fds);
    if (r < 0)
        return err_sys(err, ERR_KERNEL_UNAVAILABLE, -r, "make a pipe");
    cleanup_fd int read_fd = fds[0];
    cleanup_fd int write_fd = fds[1];
    struct kernel_process process = KERNEL_PROCESS_UNSET;
    (void)snprintf(name, sizeof(name), "kernel-%lu", ++n_started); /* fits */
    r = fd_set_nonblock(read_fd, true);
    if (r >= 0)
        r = leaf_new(name, &process.leaf, err);
    if (r < 0)
        return r;
    struct arena arena;
    arena_init(&arena);
    r = spawn_with(plan, connection_file, &arena, write_fd, &process, err);
    arena_done(&arena);
    if (r < 0) {
        leaf_free(process.leaf);
        if (err && err->code == 0)
            err->code = ERR_KERNEL_UNAVAILABLE;
        return r;
    }
    leaf_set_leader(process.leaf, process.ref.pid);
    process.tail_fd = take_fd(&read_fd);
    *ret_process = process;
    return 0;
}

void kernel_process_done(struct kernel_process *process)
{
    static const struct timespec pause = {.tv_nsec = 2000000};
    /* After an orderly end the tree is empty at the first look; the bound is for programs that end at once. */
    for (int i = 0; process->leaf && i < 50 && !leaf_kill(process->leaf); i++)
        (void)nanosleep(&pause, NULL); /* a shorter pause is as good */
    leaf_free(process->leaf);
    process->leaf = NULL;
    pidref_done(&process->ref);
    if (process->tail_fd >= 0)
        close(take_fd(&process->tail_fd));
}

void kernel_process_death_text(const struct kernel_process *process,
                               const struct exit_status *status, char *buf, size_t size)
{
    char text[64];
    struct leaf_usage usage;
    exit_status_text(status, text, sizeof(text));
    leaf_read_usage(process->leaf, &usage);
    if (status->signalled && status->code == SIGKILL && usage.oom_kills > 0)
        (void)snprintf(buf, size, "%s (out of memory)", text); /* fits the callers' buffers */
    else
        (void)snprintf(buf, size, "%s", text); /* as above */
}
