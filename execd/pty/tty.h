/*
 * Pseudo terminals: making a pair, its size, and what runs in its foreground.
 *
 * execd keeps the master and never gains a controlling terminal of its own (O_NOCTTY everywhere; hardening G11).
 * Thread rule: any thread. Source: ptmx(4), ioctl_tty(2).
 */
#pragma once

#include "proto/base/err.h"

/* A non-blocking master and a slave of the given size, both CLOEXEC, UTF-8 line editing on. The slave is opened through
 * the master, so no path inside the sandbox is trusted (TIOCGPTPEER); kernels without that: by its /dev/pts name. */
int tty_open(unsigned cols, unsigned rows, int *ret_master, int *ret_slave,
             struct err *err) must_check;

int tty_resize(int master, unsigned cols, unsigned rows) must_check;

/* The foreground process group of the session that `leader` leads on this terminal; 0 when there is none. */
pid_t tty_foreground(int master, pid_t leader);
