/*
 * A time limit by the clock of the loop (loop_delay.h): a pause of the whole process does not use it up.
 *
 * Behind a stop, a freeze or a suspended machine every timer is due at once, while what they wait for lies unread: in a
 * socket, or with the thread that carries the messages of kernels. Belongs to whose limit it is, embedded; zeroed memory
 * is one that was never made. Thread rule: loop thread only. Unit: milliseconds.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

struct patience {
    struct event *timer; /* owned */
    int64_t due_ms;      /* loop_clock_ms */
};

/* fn is called from the loop, and asks patience_is_over first. False: no memory. */
static inline bool patience_init(struct patience *p, struct event_base *base, event_callback_fn fn,
                                 void *arg)
{
    p->timer = evtimer_new(base, fn, arg);
    return p->timer != NULL;
}

static inline void patience_done(struct patience *p) /* legal on one that was never made */
{
    if (p->timer != NULL)
        event_free(p->timer);
}

void patience_start(struct patience *p, int64_t limit_ms); /* also anew */

static inline void patience_stop(struct patience *p) /* legal on one that does not run */
{
    (void)event_del(p->timer); /* cannot fail for an event of ours */
}

/* False: it goes on. */
bool patience_is_over(struct patience *p);
