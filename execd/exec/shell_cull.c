#include "execd/exec/shell_cull.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

#define INTERVAL_MIN_MS 100

struct shell_cull {
    struct session_manager *sessions; /* borrowed */
    int64_t idle_ms;
    struct event *timer; /* owned */
};

static void delete_if_due(struct session *s, void *arg)
{
    const struct shell_cull *cull = arg;
    struct session_status status;

    if (session_language(s) == NULL)
        return;
    session_get_status(s, &status);
    if (!status.busy && status.queued == 0 &&
        clock_monotonic_ms() - status.idle_since_ms >= cull->idle_ms)
        session_delete(s);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct shell_cull *cull = arg;

    (void)fd;
    (void)what;
    LOOP_WORK("timer", "shell_cull");
    session_each(cull->sessions, delete_if_due, cull);
}

int shell_cull_new(struct event_base *base, struct session_manager *sessions, int64_t idle_ms,
                   int interval_ms, struct shell_cull **ret_cull)
{
    int64_t ms = MIN(MAX(idle_ms, INTERVAL_MIN_MS), interval_ms);
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};

    *ret_cull = NULL;
    if (idle_ms <= 0)
        return 0;
    struct shell_cull *cull = xnew(struct shell_cull);
    *cull = (struct shell_cull){sessions, idle_ms, event_new(base, -1, EV_PERSIST, on_timer, cull)};
    if (cull->timer == NULL || event_add(cull->timer, &tv) < 0) {
        shell_cull_free(cull);
        return -ENOMEM;
    }
    *ret_cull = cull;
    return 0;
}

void shell_cull_free(struct shell_cull *cull)
{
    if (cull == NULL)
        return;
    if (cull->timer != NULL)
        event_free(cull->timer);
    free(cull);
}
