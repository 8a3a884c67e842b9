#include "execd/code/hold_budget.h"

#include "proto/base/defs.h"

void hold_budget_init(struct hold_budget *b, int64_t now_ms)
{
    *b = (struct hold_budget){HOLD_BUDGET_MS, now_ms};
}

/* What is not a whole millisecond yet stays in filled_ms. */
static void fill(struct hold_budget *b, int64_t now_ms)
{
    int64_t more = (now_ms - b->filled_ms) / HOLD_BUDGET_RATE;

    b->left_ms = MIN(b->left_ms + more, (int64_t)HOLD_BUDGET_MS);
    b->filled_ms += more * HOLD_BUDGET_RATE;
}

bool hold_budget_is_spent(struct hold_budget *b, int64_t now_ms)
{
    fill(b, now_ms);
    return b->left_ms <= 0;
}

void hold_budget_charge(struct hold_budget *b, int64_t ms, int64_t now_ms)
{
    fill(b, now_ms);
    b->left_ms = MAX(b->left_ms - ms, (int64_t)-HOLD_BUDGET_MS);
}
