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
#include "proto/base/log.h"
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
#define WORD_MAX 400 /* as in zygote.py */
#define NOTE_MAX 160

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
    bool was_warm;          /* since it was started */
    bool has_failed;        /* and has said why */
    char importing[64];     /* module of the user's at which it is, or was last; "" = none */
    char trouble[NOTE_MAX]; /* what kept the last one from getting warm; "" = nothing */
    char note[NOTE_MAX];    /* what the last warm one goes without; "" = nothing */
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

/* Remembered for the starts that suffer from it; logged when it is news. */
static void keep(struct zygote *z, char kept[NOTE_MAX], const char *what, const char *text)
{
    bool is_news = text[0] && strncmp(kept, text, NOTE_MAX - 1) != 0;
    (void)snprintf(kept, NOTE_MAX, "%s", text); /* cutting is fine */
    if (is_news)
        log_event(LOG_LEVEL_WARN, "code", what, "python", z->python, "reason", kept, NULL);
}

static void keep_trouble(struct zygote *z, const char *reason)
{
    char text[NOTE_MAX];
    (void)snprintf(text, sizeof(text), "no warm start: %s%s%s%s", z->importing[0] ? "preload " : "",
                   z->importing, z->importing[0] ? ": " : "", reason); /* cutting is fine */
    keep(z, z->trouble, "an interpreter does not get warm", text);
}

static void fail(struct zygote *z, const char *reason)
{
    z->has_failed = true;
    keep_trouble(z, reason);
}

/* False: it is of no use any more. */
static bool take_word(struct zygote *z, const char *word)
{
    bool is_good = !z->was_warm;
    if (is_good && str_starts(word, "import ")) {
        (void)snprintf(z->importing, sizeof(z->importing), "%.63s",
                       word + strlen("import ")); /* cutting is fine */
    } else if (is_good && str_starts(word, "ready ")) {
        z->warm = z->was_warm = true;
        z->trouble[0] = '\0';
        keep(z, z->note, "an interpreter is warm, but for modules", word + strlen("ready "));
        (void)event_del(z->event);
        (void)event_add(z->event, NULL); /* without it, its end is seen by the reaper */
    } else {
        is_good = false;
        if (!z->was_warm && str_starts(word, "failed "))
            fail(z, word + strlen("failed "));
    }
    return is_good;
}

/* As recv(): how long it was. */
static ssize_t hear(struct zygote *z, bool *ret_is_good)
{
    char word[WORD_MAX + 1];

    ssize_t n = recv(z->fd, word, WORD_MAX, MSG_DONTWAIT);
    word[MAX(n, 0)] = '\0';
    *ret_is_good = n > 0 && take_word(z, word);
    return n;
}

/* Its end may be seen before what it said, and that is the better reason. */
static void hear_last_words(struct zygote *z)
{
    bool is_good = z->fd >= 0 && !z->was_warm;

    while (is_good)
        (void)hear(z, &is_good);
}

static void on_zygote_word(evutil_socket_t fd, short what, void *arg)
{
    struct zygote *z = arg;
    bool is_good = false;

    (void)fd;
    /* Behind the limit too: libevent tells of that alone when both are there. */
    ssize_t n = hear(z, &is_good);
    bool nothing = n < 0 && (errno == EAGAIN || errno == EINTR);
    if (is_good || (nothing && !(what & EV_TIMEOUT)))
        return;
    cool_down(z); /* the closed socket ends it */
    if (pidref_is_set(&z->pid) && nothing) {
        fail(z, "it takes too long");
        (void)!pidref_signal(&z->pid, SIGKILL); /* it may be gone */
    }
}

static void on_zygote_exit(void *arg, const struct exit_status *status)
{
    struct zygote *z = arg;
    int64_t now = clock_monotonic_ms();
    char text[EXIT_TEXT_MAX];

    exit_status_text(status, text, sizeof(text));
    hear_last_words(z);
    if (!z->was_warm && !z->has_failed)
        keep_trouble(z, text);
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
        (z->deaths >= DEATHS_MAX && clock_monotonic_ms() - z->first_death_ms < DEATHS_MS))
        return;
    z->was_warm = z->has_failed = false;
    z->importing[0] = '\0';
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        fail(z, "no socket can be made");
        return;
    }
    z->fd = pair[0];
    cleanup_fd int peer = pair[1];
    if (leaf_new("zygote", &z->leaf, &err) < 0 || spawn_zygote(z, peer, &err) < 0) {
        leaf_free(take_ptr(&z->leaf));
        cool_down(z);
        fail(z, err.text);
        return;
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
    if (!z->warm) {
        start(z);
        *ret_why = z->trouble[0]            ? z->trouble
                   : pidref_is_set(&z->pid) ? "the interpreter is being warmed up"
                                            : "the warm interpreter has died again and again";
        return -EAGAIN;
    }
    *ret_why = "the environment differs where an interpreter reads it at its start";
    if (!early_same(request->envp, z->envp, EARLY_INTERPRETER))
        return -EAGAIN;
    *ret_why = "the warm interpreter does not take the request";
    if (birth_ask(all->base, z->fd, zygote_request_json(request), request->leaf, request->out_fd,
                  fn, arg, ret_birth) < 0)
        return -EAGAIN;
    *ret_why = z->note;
    return 0;
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
