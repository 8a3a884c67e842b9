#include "execd/metrics/alarms.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "execd/events/bus.h"
#include "proto/base/loop_delay.h"
#include "proto/base/mem.h"

struct alarms {
    struct sampler *sampler; /* borrowed */
    struct event *look;      /* owned: runs while there is an audience */
    struct alarm_state state;
};

static void check_oom(struct alarm_state *state, const struct sample *s)
{
    if (!(s->has & SAMPLE_OOM) || s->oom_kills <= state->oom_kills)
        return;
    events_publish(EVENTS_OOM,
                   json_pack("{s:I, s:I}", "kills", (json_int_t)(s->oom_kills - state->oom_kills),
                             "total", (json_int_t)s->oom_kills));
    state->oom_kills = s->oom_kills;
}

static void check_pressure(struct alarm_state *state, enum sample_resource r,
                           const struct pressure *p)
{
    bool high = state->high[r];

    if (!p->has_some || (high ? p->some_avg10 >= ALARM_NORMAL : p->some_avg10 < ALARM_HIGH))
        return;
    state->high[r] = !high;
    events_publish(EVENTS_PRESSURE,
                   json_pack("{s:s, s:s, s:f}", "resource", sample_resource_name(r), "state",
                             high ? "normal" : "high", "some_avg10", p->some_avg10));
}

void alarms_check(struct alarm_state *state, const struct sample *s)
{
    check_oom(state, s);
    for (unsigned r = 0; r < SAMPLE_RESOURCE_MAX; r++)
        check_pressure(state, (enum sample_resource)r, &s->pressure[r]);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    struct alarms *a = arg;

    (void)fd;
    (void)what;
    LOOP_WORK("timer", "alarms");
    alarms_check(&a->state, sampler_get(a->sampler));
}

static void on_audience(void *arg, bool present)
{
    static const struct timeval second = {.tv_sec = 1};
    struct alarms *a = arg;

    if (present)
        (void)event_add(a->look, &second); /* no memory: no alarms for this audience */
    else
        (void)event_del(a->look); /* cannot fail for an initialised event */
}

int alarms_new(struct event_base *base, struct sampler *sampler, struct alarms **ret_alarms)
{
    struct alarms *a = xnew(struct alarms);

    a->sampler = sampler;
    a->state.oom_kills = sampler_get(sampler)->oom_kills; /* before our time: no news */
    a->look = event_new(base, -1, EV_PERSIST, on_look, a);
    if (a->look == NULL) {
        free(a);
        return -ENOMEM;
    }
    events_on_audience(on_audience, a);
    *ret_alarms = a;
    return 0;
}

void alarms_free(struct alarms *a)
{
    if (a == NULL)
        return;
    event_free(a->look);
    free(a);
}
