#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "execd/exec/shell_driver_priv.h"
#include "execd/proc/spawn.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"

void shell_ends_close(struct shell_ends *e)
{
    int *all[] = {&e->lines[0], &e->lines[1],  &e->out[0],    &e->out[1], &e->err[0],
                  &e->err[1],   &e->report[0], &e->report[1], &e->eval,   &e->tell};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (*all[i] >= 0)
            close(take_fd(all[i]));
    }
}

/* Sealed: no session can change what another one sources. */
static int make_script(const char *text, int *ret_fd)
{
    cleanup_fd int fd = memfd_create("execd-session", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    int rc = fd_write_all(fd, text, strlen(text));
    if (rc == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        rc = -errno;
    if (rc == 0)
        *ret_fd = take_fd(&fd);
    return rc;
}

int shell_ends_open(struct shell_ends *e, bool packets)
{
    *e = SHELL_ENDS_UNSET;
    int rc = pipe2(e->lines, O_CLOEXEC | (packets ? O_DIRECT : 0)) < 0 ? -errno : 0;
    if (rc == 0)
        rc = fd_pipe(e->out);
    if (rc == 0)
        rc = fd_pipe(e->err);
    if (rc == 0)
        rc = fd_pipe(e->report);
    if (rc == 0)
        rc = make_script(shell_script_eval, &e->eval);
    return rc == 0 ? make_script(shell_script_tell, &e->tell) : rc;
}

static const char *const bash_options[] = {"--noprofile", "--norc", "--noediting", "-i", NULL};
static const char *const sh_options[] = {"-i", NULL};

static int plan_argv(const struct shell_start *start, const struct shell *shell,
                     struct arena *arena, struct spawn_plan *plan)
{
    const char *const *const options = strcmp(shell->name, "bash") == 0 ? bash_options : sh_options;
    const char *const *const wrap = start->wrap != NULL ? start->wrap->argv : NULL;
    size_t n = 0;
    const char **argv = arena_alloc(arena, 32 * sizeof(*argv));

    if (argv == NULL)
        return -ENOMEM;
    for (size_t i = 0; wrap != NULL && wrap[i] != NULL && n < 16; i++)
        argv[n++] = wrap[i];
    argv[n++] = wrap != NULL ? shell->file : shell->name;
    for (size_t i = 0; options[i] != NULL; i++)
        argv[n++] = options[i];
    argv[n] = NULL;
    plan->argv = argv;
    plan->file = wrap != NULL ? start->wrap->file : shell->file;
    return 0;
}

static void plan_fds(const struct shell_start *start, const struct shell_ends *e,
                     struct spawn_plan *plan)
{
    const struct plan_fd fds[] = {
        {e->lines[0], SHELL_FD_LINES},   {e->out[1], SHELL_FD_OUT}, {-1, SHELL_FD_NULL},
        {e->report[1], SHELL_FD_REPORT}, {e->err[1], SHELL_FD_ERR}, {e->eval, SHELL_FD_EVAL},
        {e->tell, SHELL_FD_TELL},
    };

    memcpy(plan->fds, fds, sizeof(fds));
    plan->n_fds = ARRAY_LEN(fds);
    if (start->wrap != NULL && start->wrap->config_fd >= 0)
        plan->fds[plan->n_fds++] = (struct plan_fd){start->wrap->config_fd, SHELL_FD_CONFIG};
}

int shell_spawn(const struct shell_start *start, const struct shell *shell,
                const struct shell_ends *e, struct arena *arena, struct pidref *ret_pid,
                struct err *err)
{
    struct spawn_plan plan;

    plan_init(&plan);
    plan.envp = start->envp;
    plan.cwd = start->cwd;
    plan.oom_score_adj = PLAN_OOM_SCORE_ADJ;
    int rc = plan_argv(start, shell, arena, &plan);
    if (rc < 0)
        return err_sys(err, ERR_OUT_OF_MEMORY, -rc, "start the shell");
    plan_fds(start, e, &plan);
    if (start->wrap != NULL)
        plan.namespaces = start->wrap->namespaces;
    plan.trusted = start->wrap != NULL && start->wrap->trusted;
    leaf_add_to_plan(start->leaf, &plan);
    rc = spawn_process(&plan, ret_pid, err);
    if (rc == 0)
        leaf_set_leader(start->leaf, ret_pid->pid);
    return rc;
}
