#include "execd/proc/pidref.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

int pidref_open(struct pidref *ret_p, pid_t pid)
{
    int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    int rc = fd >= 0 ? 0 : pid > 0 ? -errno : -ESRCH;
    *ret_p = fd >= 0 ? (struct pidref){.pid = pid, .fd = fd} : PIDREF_UNSET;
    return rc;
}

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

bool pidref_has_ended(const struct pidref *p)
{
    struct pollfd end = {.fd = p->fd, .events = POLLIN}; /* -1 is passed over */

    return poll(&end, 1, 0) > 0;
}

bool pid_list_has(const struct pid_list *list, pid_t pid)
{
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        if (list->pid[i] == pid)
            return true;
    }
    return false;
}
