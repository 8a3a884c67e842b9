#include "execd/proc/pidref.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

bool pidref_is_set(const struct pidref *p)
{
    return p->pid > 0 && p->fd >= 0;
}

void pidref_done(struct pidref *p)
{
    if (p->fd >= 0)
        close(p->fd);
    *p = PIDREF_UNSET;
}

int pidref_signal(const struct pidref *p, int signum)
{
    if (!pidref_is_set(p))
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, p->fd, signum, NULL, 0) < 0 ? -errno : 0;
}

bool pid_list_has(const struct pid_list *list, pid_t pid)
{
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        if (list->pid[i] == pid)
            return true;
    }
    return false;
}
