#include "execd/init/shutdown.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>

#include "execd/proc/reaper.h"
#include "execd/proc/tree.h"
#include "proto/base/clock.h"

/* KILL is repeated: a process may have been forked between the look at the table and the signal. */
#define KILL_EVERY_MS 50

static struct {
    struct event *timer;   /* owned; NULL = not running. First the grace, then the repeated KILL */
    int64_t first_kill_ms; /* 0 = still in the grace */
    void (*on_done)(void *arg);
    void *arg;
} shutdown_state;

static void arm(int ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    if (event_add(shutdown_state.timer, &tv) < 0)
        event_active(shutdown_state.timer, EV_TIMEOUT,
                     0); /* no memory for a timer: no grace either */
}

static void finish(void *arg)
{
    void (*on_done)(void *) = shutdown_state.on_done;
    (void)arg;
    shutdown_stop();
    if (on_done != NULL)
        on_done(shutdown_state.arg);
}

static void kill_all(void)
{
    int64_t now = clock_monotonic_ms();
    if (shutdown_state.first_kill_ms == 0)
        shutdown_state.first_kill_ms = now;
    if (now - shutdown_state.first_kill_ms > SHUTDOWN_KILL_MS) {
        finish(NULL);
        return;
    }
    (void)!tree_signal_all(SIGKILL); /* the next round sees what is left */
    arm(KILL_EVERY_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    kill_all();
}

int shutdown_start(struct event_base *base, int grace_ms, void (*on_done)(void *arg), void *arg,
                   struct err *err)
{
    shutdown_state.timer = evtimer_new(base, on_timer, NULL);
    if (shutdown_state.timer == NULL)
        return err_set(err, 0, ENOMEM, "shutdown: out of memory");
    shutdown_state.first_kill_ms = 0;
    shutdown_state.on_done = on_done;
    shutdown_state.arg = arg;
    (void)!tree_signal_all(SIGTERM); /* who is missed here gets the KILL */
    (void)!tree_signal_all(SIGCONT); /* a stopped process cannot act on its TERM */
    arm(grace_ms);
    reaper_on_empty(finish, NULL);
    return 0;
}

void shutdown_now(void)
{
    if (shutdown_state.timer != NULL && shutdown_state.first_kill_ms == 0)
        kill_all();
}

void shutdown_stop(void)
{
    if (shutdown_state.timer == NULL)
        return;
    reaper_on_empty(NULL, NULL);
    event_free(shutdown_state.timer);
    shutdown_state.timer = NULL;
    shutdown_state.on_done = NULL;
}
