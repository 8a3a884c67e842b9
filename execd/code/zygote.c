#include "execd/code/zygote.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "execd/code/early.h"
#include "execd/proc/environment.h"
#include "execd/proc/pidref.h"
#include "execd/proc/reaper.h"
#include "execd/proc/spawn.h"
#include "execd/proc/tree.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"

/* The program, word for word, control.py and checkpoint.py in front (Makefile: the folder of the sources is the current one). */
__asm__(".section .rodata\n"
        "zygote_program: .incbin \"execd/code/control.py\"\n"
        ".incbin \"execd/code/checkpoint.py\"\n"
        ".incbin \"execd/code/zygote.py\"\n.byte 0\n"
        ".previous\n");
extern const char zygote_program[];

const char *const *zygote_cold_argv(const char *python, const char *const *arguments,
                                    struct arena *arena)
{
    size_t n = 0;
    while (arguments[n])
        n++;
    const char **argv = arena_alloc(arena, (n + 4) * sizeof(*argv)); /* zeroed: its end too */
    if (!argv)
        return NULL;
    argv[0] = python;
    argv[1] = "-c";
    argv[2] = zygote_program;
    memcpy(argv + 3, arguments, n * sizeof(*argv));
    return argv;
}

#define ZYGOTES_MAX 4
#define WARM_MS 30000
/* Behind the third death within this time it is left alone for as long. */
#define DEATHS_MAX 3
#define DEATHS_MS (INT64_C(300) * 1000)

struct zygote {
    struct zygotes *owner; /* borrowed */
    char *python;          /* owned; which interpreter */
    struct arena arena;    /* holds envp */
    const char *const *envp;
    struct pidref pid;
    struct leaf *leaf;   /* owned */
    int fd;              /* owned; -1 while there is none */
    struct event *event; /* owned: the first word, or the end */
    bool warm;
    unsigned deaths;
    int64_t first_death_ms;
};

struct zygotes {
    struct event_base *base; /* borrowed */
    char *preload;           /* owned; may be NULL */
    struct zygote slot[ZYGOTES_MAX];
    size_t n;
};

/* ---- the warm process ---- */

static void cool_down(struct zygote *z)
{
    if (z->event != NULL)
        event_free(take_ptr(&z->event));
    if (z->fd >= 0)
        close(take_fd(&z->fd));
    z->warm = false;
}

static void on_zygote_exit(void *arg, const struct exit_status *status)
{
    struct zygote *z = arg;
    int64_t now = clock_monotonic_ms();

    (void)status;
    pidref_done(&z->pid);
    z->pid = PIDREF_UNSET;
    cool_down(z);
    leaf_free(take_ptr(&z->leaf)); /* its kernels are in leaves of their own */
    if (z->deaths == 0 || now - z->first_death_ms > DEATHS_MS) {
        z->deaths = 0;
        z->first_death_ms = now;
    }
    z->deaths++;
}

static void on_zygote_word(evutil_socket_t fd, short what, void *arg)
{
    struct zygote *z = arg;
    char word[16];

    ssize_t n = what & EV_TIMEOUT ? 0 : recv(fd, word, sizeof(word), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 5 && memcmp(word, "ready", 5) == 0) {
        z->warm = true;
        (void)event_del(z->event);
        (void)event_add(z->event, NULL); /* without it, its end is seen by the reaper */
        return;
    }
    cool_down(z); /* the closed socket ends it */
    if (pidref_is_set(&z->pid) && (what & EV_TIMEOUT))
        (void)!pidref_signal(&z->pid, SIGKILL); /* it may be gone */
}

static int spawn_zygote(struct zygote *z, int peer, struct err *err)
{
    const char *argv[] = {z->python, "-c", zygote_program, NULL};
    const char *files[] = {z->python, NULL};
    struct spawn_plan plan;

    plan_init(&plan);
    plan.candidates = files;
    plan.argv = argv;
    plan.envp = z->envp;
    plan.cwd = "/";
    plan.death_signal = SIGKILL;
    plan.fds[plan.n_fds++] = (struct plan_fd){-1, 0};
    plan.fds[plan.n_fds++] = (struct plan_fd){-1, 1};
    plan.fds[plan.n_fds++] = (struct plan_fd){-1, 2};
    plan.fds[plan.n_fds++] = (struct plan_fd){peer, ZYGOTE_FD};
    leaf_add_to_plan(z->leaf, &plan);
    plan.tag = TREE_NO_TAG; /* its kernels have their own, which must not be above its limit */
    return spawn_process(&plan, &z->pid, err);
}

static void start(struct zygote *z)
{
    static const struct timeval patience = {.tv_sec = WARM_MS / 1000};
    struct err err;
    int pair[2];

    if (pidref_is_set(&z->pid) ||
        (z->deaths >= DEATHS_MAX && clock_monotonic_ms() - z->first_death_ms < DEATHS_MS) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    z->fd = pair[0];
    cleanup_fd int peer = pair[1];
    if (leaf_new("zygote", &z->leaf, &err) < 0 || spawn_zygote(z, peer, &err) < 0) {
        leaf_free(take_ptr(&z->leaf));
        cool_down(z);
        return; /* kernels start cold, and say that */
    }
    leaf_set_leader(z->leaf, z->pid.pid);
    reaper_watch(z->pid.pid, on_zygote_exit, z);
    z->event = event_new(z->owner->base, z->fd, EV_READ | EV_PERSIST, on_zygote_word, z);
    if (z->event == NULL || event_add(z->event, &patience) < 0)
        cool_down(z);
}

/* ---- which one fits ---- */

static struct zygote *find(struct zygotes *all, const char *python)
{
    for (size_t i = 0; i < all->n; i++) {
        if (strcmp(all->slot[i].python, python) == 0)
            return &all->slot[i];
    }
    return NULL;
}

/* A copy of the environment with what the bootstrap itself wants to know. */
static int keep_envp(struct zygote *z, const char *const *envp, const char *preload)
{
    size_t n = 0, extra = 2;

    while (envp[n] != NULL)
        n++;
    const char **copy = arena_alloc(&z->arena, (n + extra + 1) * sizeof(*copy));
    if (copy == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        copy[i] = arena_printf(&z->arena, "%s", envp[i]);
        if (copy[i] == NULL)
            return -ENOMEM;
    }
    if (preload != NULL)
        copy[n++] = arena_printf(&z->arena, "EXECD_PRELOAD=%s", preload);
    if (environment_get(envp, "MPLBACKEND") == NULL) /* else plots of a preloaded pyplot vanish */
        copy[n++] = "MPLBACKEND=module://matplotlib_inline.backend_inline";
    copy[n] = NULL;
    z->envp = copy;
    return 0;
}

static struct zygote *add(struct zygotes *all, const struct zygote_request *request)
{
    if (all->n == ZYGOTES_MAX)
        return NULL;
    struct zygote *z = &all->slot[all->n];
    *z = (struct zygote){.owner = all, .pid = PIDREF_UNSET, .fd = -1};
    arena_init(&z->arena);
    if (keep_envp(z, request->envp, all->preload) < 0) {
        arena_done(&z->arena);
        return NULL;
    }
    z->python = xstrdup(request->python);
    all->n++;
    return z;
}

/* ---- forks ---- */

json_t *zygote_env_json(const char *const *envp)
{
    json_t *env = json_object();

    for (; *envp != NULL; envp++) {
        const char *equals = strchr(*envp, '=');
        if (equals != NULL)
            json_object_setn_new(env, *envp, (size_t)(equals - *envp), json_string(equals + 1));
    }
    return env;
}

json_t *zygote_request_json(const struct zygote_request *r)
{
    json_t *o = json_object();
    json_t *arguments = json_array();

    for (size_t i = 0; r->arguments[i] != NULL; i++)
        json_array_append_new(arguments, json_string(r->arguments[i]));
    json_object_set_new(o, "arguments", arguments);
    json_object_set_new(o, "env", zygote_env_json(r->envp));
    json_object_set_new(o, "cwd", json_string(r->cwd));
    return o;
}

int zygotes_fork(struct zygotes *all, const struct zygote_request *request, birth_fn fn, void *arg,
                 struct birth **ret_birth, const char **ret_why)
{
    struct zygote *z = find(all, request->python);

    if (z == NULL)
        z = add(all, request);
    *ret_why = "too many interpreters";
    if (z == NULL)
        return -EAGAIN;
    *ret_why = "the interpreter is being warmed up";
    if (!z->warm) {
        start(z);
        return -EAGAIN;
    }
    *ret_why = "the environment differs where an interpreter reads it at its start";
    if (!early_same(request->envp, z->envp, EARLY_INTERPRETER))
        return -EAGAIN;
    *ret_why = "the warm interpreter does not take the request";
    return birth_ask(all->base, z->fd, zygote_request_json(request), request->leaf, request->out_fd,
                     fn, arg, ret_birth) < 0
               ? -EAGAIN
               : 0;
}

/* ---- all of them ---- */

struct zygotes *zygotes_new(struct event_base *base, const char *preload)
{
    struct zygotes *z = xnew(struct zygotes);

    z->base = base;
    z->preload = preload != NULL && preload[0] != '\0' ? xstrdup(preload) : NULL;
    return z;
}

void zygotes_free(struct zygotes *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; i < all->n; i++) {
        struct zygote *z = &all->slot[i];
        if (pidref_is_set(&z->pid)) {
            reaper_forget(z->pid.pid);
            (void)!pidref_signal(&z->pid, SIGKILL); /* it may be gone */
        }
        pidref_done(&z->pid);
        cool_down(z);
        leaf_free(z->leaf);
        arena_done(&z->arena);
        free(z->python);
    }
    free(all->preload);
    free(all);
}
