/*
 * Alarms: what a follower of the events wants to be told of the numbers. Processes killed for lack of memory, and
 * pressure that rises above ALARM_HIGH percent of the last 10 s (told once, and once more below ALARM_NORMAL).
 *
 * Looks once a second, only while somebody follows; kills that happened meanwhile are told at the next look.
 * Thread rule: loop thread only. Source: kernel Documentation/accounting/psi.rst.
 */
#pragma once

#include "execd/metrics/sampler.h"

#define ALARM_HIGH 20.0
#define ALARM_NORMAL 10.0

struct event_base;
struct alarms;

int alarms_new(struct event_base *base, struct sampler *sampler,
               struct alarms **ret_alarms) must_check;
void alarms_free(struct alarms *a);

/* What was told already; and one look. For alarms.c and its test. */
struct alarm_state {
    uint64_t oom_kills;
    bool high[SAMPLE_RESOURCE_MAX];
};
void alarms_check(struct alarm_state *state, const struct sample *s);
