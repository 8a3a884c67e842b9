/* A session's process: how it starts, what it is told, how it ends. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "execd/events/bus.h"
#include "execd/proc/environment.h"
#include "execd/proc/shell.h"
#include "execd/proc/spawn.h"
#include "execd/pty/term_priv.h"
#include "execd/pty/tty.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"

#define TERM_DEFAULT "xterm-256color"

static const struct timeval resize_time = {0,
                                           10 * 1000}; /* gathers a drag of the window's corner */

/* ---- the plan ------------------------------------------------------------------------------------ */

static int build_environment(enum term_mode mode, struct arena *arena, const char *const **ret_envp,
                             struct err *err)
{
    static struct jpair term = {"TERM", TERM_DEFAULT};
    static const struct jmap with_term = {&term, 1};

    int rc = environment_build(arena, NULL, ret_envp, err);
    if (rc < 0 || mode == TERM_PIPE || environment_get(*ret_envp, "TERM") != NULL)
        return rc;
    return environment_build(arena, &with_term, ret_envp, err);
}

static int plan_shell(const struct term *t, struct arena *arena, struct spawn_plan *plan,
                      struct err *err)
{
    const char **argv = arena_alloc(arena, 6 * sizeof(*argv));
    struct shell shell;
    size_t n = 0;

    if (argv == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory to start the shell");
    int rc = shell_find(plan->envp, plan->cwd, arena, &shell, err);
    if (rc < 0)
        return rc;
    plan->file = shell.file;
    argv[n++] = shell.name;
    if (strcmp(shell.name, "bash") == 0) {
        argv[n++] = "--norc";
        argv[n++] = "--noprofile";
    }
    if (t->command != NULL) {
        argv[n++] = "-c";
        argv[n++] = t->command;
    }
    plan->argv = argv;
    return 0;
}

/* Both ends of what connects us with the process. */
struct ends {
    int out, err_out, in;                   /* ours; PTY: out and in are one */
    int child_in, child_out, child_err_out; /* PTY: one */
};

static void close_child_ends(struct ends *e)
{
    if (e->child_out >= 0 && e->child_out != e->child_in)
        close(e->child_out);
    if (e->child_err_out >= 0 && e->child_err_out != e->child_in)
        close(e->child_err_out);
    if (e->child_in >= 0)
        close(e->child_in);
}

static void close_our_ends(struct ends *e)
{
    if (e->in >= 0 && e->in != e->out)
        close(e->in);
    if (e->err_out >= 0)
        close(e->err_out);
    if (e->out >= 0)
        close(e->out);
}

/* One pipe; ours is made non-blocking. */
static int open_pipe(int *ret_ours, int *ret_theirs, bool we_write)
{
    int fds[2];
    int rc = fd_pipe(fds);

    if (rc < 0)
        return rc;
    *ret_ours = fds[we_write ? 1 : 0];
    *ret_theirs = fds[we_write ? 0 : 1];
    return fd_set_nonblock(*ret_ours, true);
}

static int open_ends(const struct term *t, struct ends *e, struct err *err)
{
    *e = (struct ends){-1, -1, -1, -1, -1, -1};
    if (t->mode == TERM_PTY) {
        int rc = tty_open(t->cols, t->rows, &e->out, &e->child_in, err);
        e->in = e->out;
        e->child_out = e->child_err_out = e->child_in;
        return rc;
    }
    int rc = open_pipe(&e->in, &e->child_in, true);
    if (rc == 0)
        rc = open_pipe(&e->out, &e->child_out, false);
    if (rc == 0)
        rc = open_pipe(&e->err_out, &e->child_err_out, false);
    return rc < 0 ? err_sys(err, ERR_RUNTIME_ERROR, -rc, "pipe") : 0;
}

static int make_plan(struct term *t, struct arena *arena, const struct ends *e,
                     struct spawn_plan *plan, struct err *err)
{
    plan_init(plan);
    plan->oom_score_adj = PLAN_OOM_SCORE_ADJ;
    int rc = build_environment(t->mode, arena, &plan->envp, err);
    if (rc == 0)
        rc = environment_make_cwd(arena, t->cwd, plan->envp, &plan->cwd, err);
    if (rc == 0)
        rc = plan_shell(t, arena, plan, err);
    if (rc == 0 && t->leaf == NULL)
        rc = leaf_new(t->id, &t->leaf, err);
    if (rc < 0)
        return rc;
    plan->tty_fd = t->mode == TERM_PTY ? e->child_in : -1;
    plan->fds[plan->n_fds++] = (struct plan_fd){e->child_in, 0};
    plan->fds[plan->n_fds++] = (struct plan_fd){e->child_out, 1};
    plan->fds[plan->n_fds++] = (struct plan_fd){e->child_err_out, 2};
    leaf_add_to_plan(t->leaf, plan);
    return 0;
}

/* ---- start --------------------------------------------------------------------------------------- */

static int spawn(struct term *t, struct arena *arena, struct ends *e, struct err *err)
{
    struct spawn_plan plan;

    int rc = make_plan(t, arena, e, &plan, err);
    if (rc == 0)
        rc = spawn_process(&plan, &t->leader, err);
    if (rc < 0)
        return rc;
    leaf_set_leader(t->leaf, t->leader.pid);
    t->running = true;
    t->manager->n_started++;
    rc = term_io_start(t, e->out, e->err_out, e->in, err);
    e->out = e->err_out = e->in = -1; /* the session's now */
    reaper_watch(t->leader.pid, term_on_exit, t);
    if (rc < 0)
        (void)leaf_kill(t->leaf); /* it runs, but nobody could hear it */
    return rc;
}

int term_start(struct term *t, enum term_mode mode, struct err *err)
{
    struct arena arena;
    struct ends ends;

    if (t->manager->shutting_down)
        return err_set(err, ERR_SHUTTING_DOWN, ESHUTDOWN, "the agent is shutting down");
    arena_init(&arena);
    t->mode = mode;
    int rc = open_ends(t, &ends, err);
    if (rc == 0)
        rc = spawn(t, &arena, &ends, err);
    close_child_ends(&ends);
    close_our_ends(&ends);
    arena_done(&arena);
    return rc;
}

/* ---- the end ------------------------------------------------------------------------------------- */

void term_on_exit(void *arg, const struct exit_status *status)
{
    struct term *t = arg;
    struct term_viewer *v, *next;

    t->running = false;
    t->has_exited = true;
    t->exit_code = status->signalled ? -1 : status->code;
    t->exited_ms = clock_monotonic_ms();
    events_publish(EVENTS_PTY_ENDED, json_pack("{s:s,s:s,s:i}", "id", t->id, "reason", "exited",
                                               "exit_code", t->exit_code));
    pidref_done(&t->leader);
    leaf_set_leader(
        t->leaf,
        0); /* the number may be somebody else's soon; the rest of the tree is known without */
    (void)event_del(&t->resize);
    term_io_drain(t);
    term_io_stop(t);
    t->writer = NULL;
    for (v = LIST_FIRST(&t->viewers); v != NULL; v = next) {
        next = LIST_NEXT(v, link);
        if (v->has_ended)
            continue;
        v->has_ended = true;
        v->on_exit(v, t->exit_code, ring_total(&t->ring));
    }
}

/* ---- signals and size ---------------------------------------------------------------------------- */

/* The leader's number stands for its group as long as it is not reaped. */
static int signal_shell(const struct term *t, int signum)
{
    if (pidref_signal(&t->leader, 0) < 0)
        return -ESRCH;
    return kill(-t->leader.pid, signum) < 0 ? -errno : 0;
}

int term_signal(struct term *t, int signum)
{
    pid_t job;

    if (!t->running)
        return -ESRCH;
    job = t->mode == TERM_PTY ? tty_foreground(t->input_fd, t->leader.pid) : 0;
    if (job == 0 || job == t->leader.pid)
        return signal_shell(t, signum);
    int rc = kill(-job, signum) < 0 ? -errno : 0;
    return signum == SIGINT || signum == SIGQUIT ? rc : signal_shell(t, signum);
}

static void on_resize(evutil_socket_t fd, short what, void *arg)
{
    struct term *t = arg;

    (void)fd;
    (void)what;
    if (t->running && t->mode == TERM_PTY && t->input_fd >= 0)
        (void)!tty_resize(t->input_fd, t->cols, t->rows); /* fails when its other side is closed */
    if (t->recording != NULL)
        recording_resize(t->recording, t->cols, t->rows);
}

static unsigned clamp_cells(int64_t n)
{
    return (unsigned)MIN(MAX(n, 1), TERM_CELLS_MAX);
}

void term_resize(struct term *t, int64_t cols, int64_t rows)
{
    if (t->cols == clamp_cells(cols) && t->rows == clamp_cells(rows))
        return;
    t->cols = clamp_cells(cols);
    t->rows = clamp_cells(rows);
    if (!event_pending(&t->resize, EV_TIMEOUT, NULL) && event_add(&t->resize, &resize_time) < 0)
        on_resize(-1, 0, t); /* no memory for a timer: at once */
}

void term_settle_size(struct term *t)
{
    if (!event_pending(&t->resize, EV_TIMEOUT, NULL))
        return;
    (void)event_del(&t->resize);
    on_resize(-1, 0, t);
}

void term_run_init(struct term *t)
{
    t->leader = PIDREF_UNSET;
    (void)event_assign(&t->resize, t->manager->base, -1, 0, on_resize, t); /* fails for bad flags */
}
