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
