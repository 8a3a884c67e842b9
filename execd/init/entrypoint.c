#include "execd/init/entrypoint.h"

#include <errno.h>
#include <unistd.h>

#include "execd/init/child_plan.h"
#include "execd/init/pid1.h"
#include "execd/proc/leaf.h"
#include "execd/proc/reaper.h"
#include "execd/proc/spawn.h"
#include "proto/base/mem.h"

static struct {
    struct pidref process;
    struct leaf *leaf; /* owned */
    entrypoint_fn on_exit;
    void *arg;
} entrypoint = {.process = {.fd = -1}};

bool entrypoint_is_running(void)
{
    return pidref_is_set(&entrypoint.process);
}

void entrypoint_signal(int signum)
{
    /* Between its end and the reaping there is nobody to get it. */
    if (entrypoint_is_running())
        (void)!pidref_signal(&entrypoint.process, signum);
}

void entrypoint_forget(void)
{
    if (entrypoint_is_running())
        reaper_forget(entrypoint.process.pid);
    pidref_done(&entrypoint.process);
    leaf_free(entrypoint.leaf);
    entrypoint.leaf = NULL;
    entrypoint.on_exit = NULL;
}

static void on_reaped(void *arg, const struct exit_status *status)
{
    entrypoint_fn on_exit = entrypoint.on_exit;
    (void)arg;
    pidref_done(&entrypoint.process);
    /* Its daemons live on: the leaf is removed when it is empty. */
    leaf_free(entrypoint.leaf);
    entrypoint.leaf = NULL;
    on_exit(entrypoint.arg, status->signalled ? 128 + status->code : status->code);
}

static int start(const char *const *argv, struct arena *arena, struct err *err)
{
    struct spawn_plan plan;
    int result = child_plan(argv, arena, &plan, err);
    if (result < 0)
        return result;
    plan.tty_fd = pid1_terminal_is_free() ? STDIN_FILENO : -1;
    if ((result = leaf_new("entrypoint", &entrypoint.leaf, err)) < 0)
        return result;
    leaf_add_to_plan(entrypoint.leaf, &plan);
    if ((result = spawn_process(&plan, &entrypoint.process, err)) < 0) {
        leaf_free(entrypoint.leaf);
        entrypoint.leaf = NULL;
        return result;
    }
    leaf_set_leader(entrypoint.leaf, entrypoint.process.pid);
    reaper_watch(entrypoint.process.pid, on_reaped, NULL);
    return 0;
}

int entrypoint_start(const char *const *argv, entrypoint_fn on_exit, void *arg, struct err *err)
{
    struct arena arena;
    entrypoint.on_exit = on_exit;
    entrypoint.arg = arg;
    arena_init(&arena);
    int result = start(argv, &arena, err);
    arena_done(&arena);
    return result;
}

int entrypoint_exec_code(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR ? ENTRYPOINT_NOT_FOUND : ENTRYPOINT_CANNOT_EXECUTE;
}
