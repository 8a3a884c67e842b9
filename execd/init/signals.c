#include "execd/init/signals.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "execd/init/pid1.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define LOG_EVERY_MS 1000

static const struct {
    int signum;
    enum signal_action action;
} rules[] = {
    {SIGTERM, SIGNAL_SHUTDOWN}, {SIGINT, SIGNAL_SHUTDOWN}, {SIGHUP, SIGNAL_FORWARD},
    {SIGQUIT, SIGNAL_FORWARD},  {SIGUSR1, SIGNAL_FORWARD}, {SIGUSR2, SIGNAL_FORWARD},
    {SIGWINCH, SIGNAL_FORWARD},
};

static struct {
    int fd;              /* owned */
    struct event *event; /* owned; NULL while stopped */
    const struct signal_ops *ops;
    void *arg;
    int64_t logged_ms; /* when an ignored signal was last logged */
    uint64_t n_unlogged;
} signals = {.fd = -1};

enum signal_action signals_action(int signum)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (rules[i].signum == signum)
            return rules[i].action;
    return SIGNAL_IGNORE;
}

bool signals_is_trusted(bool is_init, int code, uint32_t sender)
{
    return !is_init || (code == SI_USER && sender == 0);
}

static void log_ignored(const struct signalfd_siginfo *info)
{
    int64_t now = clock_monotonic_ms();
    if (signals.logged_ms != 0 && now - signals.logged_ms < LOG_EVERY_MS) {
        signals.n_unlogged++;
        return;
    }
    char signum[16], pid[16], code[16], more[24];
    snprintf(signum, sizeof(signum), "%u", info->ssi_signo);
    snprintf(pid, sizeof(pid), "%u", info->ssi_pid);
    snprintf(code, sizeof(code), "%d", info->ssi_code);
    snprintf(more, sizeof(more), "%llu", (unsigned long long)signals.n_unlogged);
    log_event(LOG_LEVEL_WARN, "signals", "ignored a signal from inside the sandbox", "signal",
              signum, "pid", pid, "si_code", code, "since_last", more, NULL);
    signals.logged_ms = now;
    signals.n_unlogged = 0;
}

static void take(const struct signalfd_siginfo *info)
{
    int signum = (int)info->ssi_signo;
    enum signal_action action = signals_action(signum);
    if (!signals_is_trusted(pid1_is_init(), info->ssi_code, info->ssi_pid))
        log_ignored(info);
    else if (action == SIGNAL_SHUTDOWN)
        signals.ops->on_shutdown(signals.arg, signum);
    else if (action == SIGNAL_FORWARD)
        signals.ops->on_forward(signals.arg, signum);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct signalfd_siginfo info;
    (void)what;
    (void)arg;
    /* A callback may stop us. */
    while (signals.event != NULL && read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        take(&info);
}

/* Everything that pid1_settle blocked, except what the reaper reads. */
static void wanted(sigset_t *ret_set)
{
    sigfillset(ret_set);
    sigdelset(ret_set, SIGCHLD);
    sigdelset(ret_set, SIGSEGV);
    sigdelset(ret_set, SIGBUS);
    sigdelset(ret_set, SIGFPE);
    sigdelset(ret_set, SIGILL);
    sigdelset(ret_set, SIGABRT);
    sigdelset(ret_set, SIGTRAP);
    sigdelset(ret_set, SIGSYS);
}

int signals_start(struct event_base *base, const struct signal_ops *ops, void *arg, struct err *err)
{
    sigset_t set;
    wanted(&set);
    signals.ops = ops;
    signals.arg = arg;
    signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals.fd < 0)
        return err_sys(err, 0, errno, "open a signalfd");
    signals.event = event_new(base, signals.fd, EV_READ | EV_PERSIST, on_readable, NULL);
    if (signals.event == NULL || event_add(signals.event, NULL) < 0) {
        signals_stop();
        return err_set(err, 0, ENOMEM, "watch signals: out of memory");
    }
    return 0;
}

void signals_stop(void)
{
    if (signals.event != NULL)
        event_free(signals.event);
    if (signals.fd >= 0)
        close(signals.fd);
    signals.event = NULL;
    signals.fd = -1;
}
