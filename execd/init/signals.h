/*
 * The signals that reach execd, read from a signalfd on the loop, and whom it believes.
 *
 * As PID 1 a signal counts only when it was sent from outside the pid namespace: si_code SI_USER and si_pid 0. The
 * workload can forge si_pid, but then si_code betrays it (measured: hardening M10). Anything else is ignored and
 * logged, at most once a second. A process that is not PID 1 believes everybody who may signal it.
 * Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/err.h"

struct event_base;
struct signalfd_siginfo;

enum signal_action {
    SIGNAL_IGNORE,
    SIGNAL_SHUTDOWN, /* TERM, INT: in order; a second one: now */
    SIGNAL_FORWARD,  /* HUP, QUIT, USR1, USR2, WINCH: to the entrypoint */
};

struct signal_ops {
    void (*on_shutdown)(void *arg, int signum);
    void (*on_forward)(void *arg, int signum);
};

/* ops and arg are borrowed until signals_stop. */
int signals_start(struct event_base *base, const struct signal_ops *ops, void *arg,
                  struct err *err) must_check;
void signals_stop(void);

/* The two rules, as pure functions. */
enum signal_action signals_action(int signum);
bool signals_is_trusted(bool is_init, int code, uint32_t sender);
