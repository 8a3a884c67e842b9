#include "execd/init/child_plan.h"

#include <unistd.h>

#include "execd/proc/environment.h"
#include "execd/proc/spawn.h"
#include "proto/base/mem.h"

int child_plan(const char *const *argv, struct arena *arena, struct spawn_plan *ret_plan,
               struct err *err)
{
    plan_init(ret_plan);
    ret_plan->argv = argv;
    ret_plan->cwd = environment_start_dir();
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        ret_plan->fds[ret_plan->n_fds++] = (struct plan_fd){.source = fd, .target = fd};
    int result = environment_build(arena, NULL, &ret_plan->envp, err);
    if (result == 0)
        result = spawn_resolve(argv[0], ret_plan->envp, ret_plan->cwd, arena, &ret_plan->candidates,
                               err);
    return result;
}
