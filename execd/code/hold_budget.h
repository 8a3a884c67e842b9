/*
 * For how long clients of a kernel may hold it and take nothing, all of them together: a bucket of time that fills
 * slowly. Who connects again and again without reading finds it empty, and is not waited for.
 *
 * Embedded; pure: the time is given. Thread rule: loop thread only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HOLD_BUDGET_MS 4000 /* when it is full; the debt is no larger either */
#define HOLD_BUDGET_RATE 32 /* a millisecond more in so many */

struct hold_budget {
    int64_t left_ms;   /* at filled_ms; below 0: a debt */
    int64_t filled_ms; /* monotonic */
};

void hold_budget_init(struct hold_budget *b, int64_t now_ms); /* full */
bool hold_budget_is_spent(struct hold_budget *b, int64_t now_ms);
void hold_budget_charge(struct hold_budget *b, int64_t ms, int64_t now_ms);
