#include "execd/proc/plan.h"

void plan_init(struct spawn_plan *plan)
{
    *plan = (struct spawn_plan){
        .tty_fd = -1,
        .landlock_fd = -1,
        .umask = 022,
        .new_session = true,
    };
}
