#include "proto/base/patience.h"

#include "proto/base/loop_delay.h"

static void arm(const struct patience *p, int64_t ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    (void)event_add(p->timer, &tv); /* fails only when memory is exhausted */
}

void patience_start(struct patience *p, int64_t limit_ms)
{
    p->due_ms = loop_clock_ms() + limit_ms;
    arm(p, limit_ms);
}

bool patience_is_over(struct patience *p)
{
    int64_t left_ms = p->due_ms - loop_clock_ms();
    if (left_ms > 0)
        arm(p, left_ms);
    return left_ms <= 0;
}
