#include "execd/pty/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "proto/api/errors.h"
#include "proto/base/cleanup.h"

static int open_master(void)
{
    static const char *const places[] = {"/dev/ptmx", "/dev/pts/ptmx"};
    int fd = -1;

    for (size_t i = 0; i < ARRAY_LEN(places) && fd < 0; i++)
        fd = open(places[i], O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static int open_slave(int master)
{
    static const int flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
    unsigned number;
    char path[32];

    int fd = ioctl(master, TIOCGPTPEER, flags);
    if (fd >= 0 || (errno != ENOTTY && errno != EINVAL))
        return fd < 0 ? -errno : fd;
    if (ioctl(master, TIOCGPTN, &number) < 0)
        return -errno;
    snprintf(path, sizeof(path), "/dev/pts/%u", number);
    fd = open(path, flags | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

/* Backspace takes whole characters. A wish: nothing depends on it. */
static void edit_utf8(int slave)
{
    struct termios t;

    if (tcgetattr(slave, &t) == 0) {
        t.c_iflag |= IUTF8;
        (void)tcsetattr(slave, TCSANOW, &t);
    }
}

int tty_resize(int master, unsigned cols, unsigned rows)
{
    struct winsize size = {.ws_col = (unsigned short)cols, .ws_row = (unsigned short)rows};

    return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int tty_open(unsigned cols, unsigned rows, int *ret_master, int *ret_slave, struct err *err)
{
    static const int unlocked = 0;
    cleanup_fd int master = open_master();

    if (master < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -master, "open '/dev/ptmx'");
    if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 || tty_resize(master, cols, rows) < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, errno, "set up the terminal");
    int slave = open_slave(master);
    if (slave < 0)
        return err_sys(err, ERR_RUNTIME_ERROR, -slave, "open the terminal's other side");
    edit_utf8(slave);
    *ret_master = take_fd(&master);
    *ret_slave = slave;
    return 0;
}

pid_t tty_foreground(int master, pid_t leader)
{
    pid_t session, group;

    if (ioctl(master, TIOCGSID, &session) < 0 || session != leader ||
        ioctl(master, TIOCGPGRP, &group) < 0)
        return 0;
    return group > 1 ? group : 0;
}
