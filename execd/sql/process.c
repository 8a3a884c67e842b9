#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "execd/proc/environment.h"
#include "execd/proc/spawn.h"
#include "execd/sql/run_priv.h"
#include "execd/sql/worker.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"

/* The program, word for word (Makefile: the folder of the sources is the current one). */
__asm__(".section .rodata\n"
        "sqlite_program: .incbin \"execd/sql/sqlite.py\"\n.byte 0\n"
        ".previous\n");
extern const char sqlite_program[];

/* Settings and statements, ready to be read from the beginning: in a file, because a pipe would have to be fed. The
 * data source is in no argument and no environment, where others could see its password. */
static int make_input(const char *dsn, const char *code, int *ret_fd, struct err *err)
{
    cleanup_json json_t *settings = json_pack("{s:s,s:i,s:i}", "dsn", dsn, "max_rows", SQL_ROWS_MAX,
                                              "max_bytes", (int)SQL_RESULT_MAX);
    size_t len = 0;
    cleanup_free char *line = settings != NULL ? json_compact(settings, &len) : NULL;
    cleanup_fd int fd = memfd_create("sql", MFD_CLOEXEC);

    if (line == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the run");
    int rc = fd < 0 ? -errno : fd_write_all(fd, line, len);
    if (rc == 0)
        rc = fd_write_all(fd, "\n", 1);
    if (rc == 0)
        rc = fd_write_all(fd, code, strlen(code));
    if (rc == 0 && lseek(fd, 0, SEEK_SET) < 0)
        rc = -errno;
    if (rc < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -rc, "keep the statements");
    *ret_fd = take_fd(&fd);
    return 0;
}

static int plan_sqlite(struct spawn_plan *plan, struct arena *arena, struct err *err)
{
    static const char *const argv[] = {"python3", "-I", "-S", "-c", sqlite_program, NULL};

    plan->argv = argv;
    plan->cwd = environment_start_dir();
    int rc = environment_build(arena, NULL, &plan->envp, err);
    return rc < 0 ? rc
                  : spawn_resolve("python3", plan->envp, plan->cwd, arena, &plan->candidates, err);
}

/* execd itself, started anew: nothing of the image is needed. */
static void plan_mysql(struct spawn_plan *plan)
{
    static const char *const argv[] = {"execd", SQL_WORKER_ARG, NULL};
    static const char *const envp[] = {"LANG=C.UTF-8", NULL};

    plan->file = "/proc/self/exe";
    plan->argv = argv;
    plan->envp = envp;
    plan->rlimits[plan->n_rlimits++] = (struct plan_rlimit){RLIMIT_CORE, {0, 0}};
    plan->drop_caps = ~UINT64_C(0);
    plan->no_new_privs = true;
}

static int spawn(struct sql_run *run, struct spawn_plan *plan, struct err *err)
{
    int rc = leaf_new(run->id, &run->leaf, err);

    if (rc < 0)
        return rc;
    leaf_add_to_plan(run->leaf, plan);
    rc = spawn_process(plan, &run->process, err);
    if (rc == 0)
        leaf_set_leader(run->leaf, run->process.pid);
    return rc;
}

int sql_process_start(struct sql_run *run, const char *code, int *ret_fd, struct err *err)
{
    const struct sql_manager *m = run->manager;
    bool sqlite = m->dsn.kind == DSN_SQLITE;
    cleanup_fd int input = -1;
    struct spawn_plan plan;
    struct arena arena;
    int pipe[2];

    int rc = make_input(sqlite ? m->dsn.path : m->source, code, &input, err);
    if (rc < 0)
        return rc;
    if ((rc = fd_pipe(pipe)) < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -rc, "make a pipe");
    cleanup_fd int ours = pipe[0];
    cleanup_fd int theirs = pipe[1];
    plan_init(&plan);
    plan.fds[plan.n_fds++] = (struct plan_fd){input, STDIN_FILENO};
    plan.fds[plan.n_fds++] = (struct plan_fd){theirs, STDOUT_FILENO};
    plan.fds[plan.n_fds++] = (struct plan_fd){-1, STDERR_FILENO};
    plan.oom_score_adj = PLAN_OOM_SCORE_ADJ;
    plan.death_signal = SIGKILL;
    arena_init(&arena);
    if ((rc = fd_set_nonblock(ours, true)) < 0)
        (void)err_sys(err, ERR_RUNTIME_ERROR, -rc, "make a pipe"); /* told by rc */
    if (rc == 0 && sqlite)
        rc = plan_sqlite(&plan, &arena, err);
    if (!sqlite)
        plan_mysql(&plan);
    if (rc == 0)
        rc = spawn(run, &plan, err);
    arena_done(&arena);
    if (rc == 0)
        *ret_fd = take_fd(&ours);
    return rc;
}
