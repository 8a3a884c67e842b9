#include "execd/code/kernel_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "execd/code/askline.h"
#include "execd/code/early.h"
#include "execd/code/memory.h"
#include "execd/proc/environment.h"
#include "execd/proc/spawn.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/path.h"

#define ENTER_MS 1000 /* an idle kernel takes 1 */

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

/* `PYTHON -m ipykernel_launcher -f FILE ...` can be forked. */
bool kernel_can_be_forked(const struct kernelspec *spec)
{
    const struct jstrings *argv = &spec->argv;
    return argv->n > 2 && strcmp(argv->items[1], "-m") == 0 &&
           (strcmp(argv->items[2], "ipykernel_launcher") == 0 ||
            strcmp(argv->items[2], "ipykernel") == 0);
}

/* Everything that a start needs, warm or cold; kept until the process is there. */
static int prepare(const struct kernel_plan *plan, const char *connection_file,
                   struct kernel_process *p, struct err *err)
{
    int r = build_environment(plan, &p->arena, &p->envp, err);
    if (r >= 0)
        r = enter_cwd(plan->cwd, p->envp, &p->arena, &p->start_cwd, err);
    if (r < 0)
        return r;
    p->argv = kernelspec_argv(plan->spec, connection_file, &p->arena);
    p->cold_argv = p->argv && kernel_can_be_forked(plan->spec)
                       ? zygote_cold_argv(p->argv[0], p->argv + 3, &p->arena)
                       : p->argv;
    if (!p->cold_argv)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the arguments");
    return spawn_resolve(p->argv[0], p->envp, p->start_cwd, &p->arena, &p->candidates, err);
}

static int start_cold(struct kernel_process *p, struct err *err)
{
    struct spawn_plan spawn;
    plan_init(&spawn);
    spawn.candidates = p->candidates;
    spawn.argv = p->cold_argv;
    spawn.envp = p->envp;
    spawn.cwd = p->start_cwd;
    spawn.fds[spawn.n_fds++] = (struct plan_fd){-1, 0};
    spawn.fds[spawn.n_fds++] = (struct plan_fd){p->out_fd, 1};
    spawn.fds[spawn.n_fds++] = (struct plan_fd){p->err_fd >= 0 ? p->err_fd : p->out_fd, 2};
    spawn.death_signal = SIGKILL; /* nobody else would end it where execd is not PID 1 */
    leaf_add_to_plan(p->leaf, &spawn);
    if (p->cold_argv == p->argv)
        return spawn_process(&spawn, &p->ref, err);
    /* Our own program: it is asked as if it had been forked. */
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, ERR_KERNEL_UNAVAILABLE, errno, "make a socket");
    spawn.fds[spawn.n_fds++] = (struct plan_fd){pair[1], ZYGOTE_FD};
    int r = spawn_process(&spawn, &p->ref, err);
    close(pair[1]);
    if (r >= 0)
        p->control = askline_new(p->base, pair[0]);
    else
        close(pair[0]);
    return r;
}

/* The process is there and entered, or will never be: what only its start needed goes. */
static void forget_preparations(struct kernel_process *p)
{
    arena_done(&p->arena);
    if (p->out_fd >= 0)
        close(take_fd(&p->out_fd));
    if (p->err_fd >= 0)
        close(take_fd(&p->err_fd));
}

static void on_forked(void *arg, pid_t pid, const char *why)
{
    struct kernel_process *p = arg;
    struct birth *birth = take_ptr(&p->birth);
    struct err err = {0};
    int r = 0;
    p->forked = pidref_open(&p->ref, pid) == 0;
    if (!p->forked) {
        if (pid > 0)
            birth_cancel(birth);
        (void)snprintf(p->note, sizeof(p->note), "%s", why ? why : "lost"); /* cutting is fine */
        r = p->in_advance || p->is_copy
                ? err_set(&err, ERR_KERNEL_UNAVAILABLE, EAGAIN, "%s", p->note)
                : start_cold(p, &err);
    }
    if (!p->in_advance)
        forget_preparations(p);
    if (r >= 0)
        leaf_set_leader(p->leaf, p->ref.pid);
    p->on_started(p->arg, r, &err); /* watches it */
    if (p->forked)
        p->control = askline_new(p->base, birth_go(birth));
}

static const char *first_executable(const char *const *candidates)
{
    for (; *candidates; candidates++)
        if (access(*candidates, X_OK) == 0)
            return *candidates;
    return NULL;
}

static bool start_warm(struct kernel_process *p, const struct kernel_plan *plan,
                       struct zygotes *zygotes)
{
    const char *why = "not an IPython kernel";
    struct zygote_request request = {.python = first_executable(p->candidates),
                                     .arguments = p->argv + 3,
                                     .envp = p->envp,
                                     .cwd = p->start_cwd,
                                     .out_fd = p->out_fd,
                                     .leaf = p->leaf};
    bool begun = zygotes && request.python && kernel_can_be_forked(plan->spec) &&
                 zygotes_fork(zygotes, &request, on_forked, p, &p->birth, &why) == 0;
    (void)snprintf(p->note, sizeof(p->note), "%s",
                   zygotes ? why : "warm starts are off"); /* fits */
    return begun;
}

static int open_pipe(int *ret_reader, int *ret_writer, struct err *err)
{
    int fds[2];
    int r = fd_pipe(fds);
    if (r >= 0) {
        *ret_reader = fds[0];
        *ret_writer = fds[1];
        r = fd_set_nonblock(fds[0], true);
    }
    return r < 0 ? err_sys(err, ERR_KERNEL_UNAVAILABLE, -r, "make a pipe") : 0;
}

/* Which descriptor it was matters only where it is shown to the user. */
static int open_output(struct kernel_process *p, const struct kernelspec *spec, struct err *err)
{
    int r = open_pipe(&p->output[KERNEL_STDOUT], &p->out_fd, err);
    if (r >= 0 && (spec->traits.quirks & QUIRK_RAW_OUTPUT))
        r = open_pipe(&p->output[KERNEL_STDERR], &p->err_fd, err);
    return r;
}

/* Folder and environment are those of the original, as its user has left them. */
static int start_copy(struct kernel_process *p, const struct kernel_plan *plan,
                      const char *connection_file, struct err *err)
{
    int r =
        birth_ask(p->base, plan->copy_fd, json_pack("{s:s}", "connection_file", connection_file),
                  p->leaf, p->out_fd, on_forked, p, &p->birth);
    return r < 0 ? err_sys(err, ERR_KERNEL_UNAVAILABLE, -r, "ask the checkpoint for a kernel") : 1;
}

/* Whoever asked gets a typed answer in any case. */
static int name_failure(int r, struct err *err)
{
    if (r < 0 && err && err->code == 0)
        err->code = ERR_KERNEL_UNAVAILABLE;
    return r;
}

int kernel_process_start(struct kernel_process *p, const struct kernel_host *host,
                         const struct kernel_plan *plan, const char *connection_file,
                         kernel_started_fn on_started, void *arg, struct err *err)
{
    *p = KERNEL_PROCESS_UNSET;
    p->base = host->base;
    p->in_advance = plan->in_advance;
    p->is_copy = plan->is_copy;
    p->on_started = on_started;
    p->arg = arg;
    arena_init(&p->arena);
    int r = open_output(p, plan->spec, err);
    if (r >= 0)
        r = plan->is_copy ? leaf_new_below("kernel", plan->copy_leaf, &p->leaf, err)
                          : leaf_new("kernel", &p->leaf, err);
    if (r >= 0 && plan->is_copy)
        return start_copy(p, plan, connection_file, err);
    if (r >= 0)
        r = prepare(plan, connection_file, p, err);
    if (r >= 0 && start_warm(p, plan, host->zygotes))
        return 1;
    if (r >= 0)
        r = p->in_advance ? err_set(err, ERR_KERNEL_UNAVAILABLE, EAGAIN, "%s", p->note)
                          : start_cold(p, err);
    forget_preparations(p);
    if (r < 0)
        return name_failure(r, err); /* kernel_process_done takes the rest */
    leaf_set_leader(p->leaf, p->ref.pid);
    return 0;
}

/* ---- one started in advance ---------------------------------------------------------------------- */

static bool same_list(const char *const *a, const char *const *b)
{
    while (*a && *b && strcmp(*a, *b) == 0)
        a++, b++;
    return !*a && !*b;
}

/* Programs are compared by what they resolve to: PATH may have changed meanwhile. */
static bool fits(const struct kernel_process *p, const struct kernel_process *wanted)
{
    const char *a = first_executable(p->candidates), *b = first_executable(wanted->candidates);
    return a && b && strcmp(a, b) == 0 && same_list(p->argv, wanted->argv) &&
           early_same(p->envp, wanted->envp, EARLY_KERNEL);
}

static char *enter_text(const struct kernel_process *wanted, size_t *ret_len)
{
    cleanup_json json_t *o = json_pack("{s:s, s:s}", "do", "enter", "cwd", wanted->start_cwd);
    if (!o)
        return NULL;
    json_object_set_new(o, "env", zygote_env_json(wanted->envp));
    return json_compact(o, ret_len);
}

int kernel_process_enter(struct kernel_process *p, const struct kernel_plan *plan,
                         const char *connection_file, void (*fn)(void *arg, const char *why),
                         void *arg, struct err *err)
{
    struct kernel_process wanted = KERNEL_PROCESS_UNSET;
    size_t len;
    arena_init(&wanted.arena);
    int r = name_failure(prepare(plan, connection_file, &wanted, err), err);
    if (r >= 0)
        r = p->control && fits(p, &wanted) ? 0 : -EAGAIN;
    cleanup_free char *text = r >= 0 ? enter_text(&wanted, &len) : NULL;
    if (r >= 0 && (!text || askline_ask(p->control, text, len, NULL, 0, ENTER_MS, fn, arg) < 0))
        r = -EAGAIN;
    if (r < 0) {
        arena_done(&wanted.arena);
        return r;
    }
    arena_done(&p->arena);
    p->arena = wanted.arena;
    p->argv = wanted.argv;
    p->cold_argv = wanted.cold_argv;
    p->candidates = wanted.candidates;
    p->envp = wanted.envp;
    p->start_cwd = wanted.start_cwd;
    p->pooled = true;
    return 0;
}

void kernel_process_entered(struct kernel_process *p)
{
    p->in_advance = false;
    forget_preparations(p);
}

int kernel_process_replace(struct kernel_process *p, const char *why, struct err *err)
{
    pidref_done(&p->ref);
    p->ref = PIDREF_UNSET;
    askline_free(take_ptr(&p->control));
    p->pooled = p->forked = false;
    (void)snprintf(p->note, sizeof(p->note), "%s", why); /* cutting is fine */
    int r = start_cold(p, err);
    kernel_process_entered(p);
    if (r >= 0)
        leaf_set_leader(p->leaf, p->ref.pid);
    return r;
}

void kernel_process_done(struct kernel_process *process)
{
    static const struct timespec pause = {.tv_nsec = 2000000};
    birth_cancel(take_ptr(&process->birth));
    askline_free(take_ptr(&process->control));
    forget_preparations(process);
    /* After an orderly end the tree is empty at the first look; the bound is for programs that end at once. */
    for (int i = 0; process->leaf && i < 50 && !leaf_kill(process->leaf); i++)
        (void)nanosleep(&pause, NULL); /* a shorter pause is as good */
    leaf_free(process->leaf);
    process->leaf = NULL;
    pidref_done(&process->ref);
    for (int i = 0; i < KERNEL_PIPES; i++)
        if (process->output[i] >= 0)
            close(take_fd(&process->output[i]));
}

/* Its own limit, or that of the sandbox; 0 = none, or unknown. */
static uint64_t limit_of(const struct leaf_usage *usage)
{
    return usage->memory_limit > 0 ? usage->memory_limit : memory_limit();
}

bool kernel_process_death_text(const struct kernel_process *process,
                               const struct exit_status *status, char *buf, size_t size)
{
    char text[EXIT_TEXT_MAX], limit[32] = "none";
    struct leaf_usage usage;
    exit_status_text(status, text, sizeof(text));
    leaf_read_usage(process->leaf, &usage);
    bool oom = status->signalled && status->code == SIGKILL && usage.oom_kills > 0;
    uint64_t bytes = limit_of(&usage);
    if (bytes > 0)
        (void)snprintf(limit, sizeof(limit), "%" PRIu64 " MiB", bytes >> 20); /* fits */
    if (oom)
        (void)snprintf(buf, size, "%s (out of memory: limit %s, peak %" PRIu64 " MiB)", text, limit,
                       usage.memory_peak >> 20); /* fits KERNEL_DEATH_TEXT_MAX */
    else
        (void)snprintf(buf, size, "%s", text); /* as above */
    return oom;
}
