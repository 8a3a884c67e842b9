#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "server/service/lifecycle_priv.h"

struct live *live_find(struct lifecycle *lc, const char *id)
{
    struct live *l = NULL;

    HASH_FIND_STR(lc->registry, id, l);
    return l;
}

struct live *live_add(struct lifecycle *lc, const struct sandbox *sb)
{
    struct live *l = xnew(struct live);

    l->sb = *sb;
    l->lc = lc;
    HASH_ADD_STR(lc->registry, sb.id, l);
    return l;
}

static void waiters_free(struct waiter **list)
{
    while (*list != NULL) {
        struct waiter *w = *list;
        *list = w->next;
        free(w);
    }
}

void live_free(struct live *l)
{
    HASH_DEL(l->lc->registry, l);
    waiters_free(&l->creator);
    waiters_free(&l->deleters);
    arena_done(&l->sb.arena);
    free(l);
}

void live_apply(struct live *l, enum sandbox_op op, const char *reason, const char *message)
{
    enum sandbox_state to;

    if (sandbox_transition(l->sb.state, op, &to) < 0)
        return; /* an event that came too late: the state is already further on */
    l->sb.state = to;
    l->sb.reason = reason;
    l->sb.message = message;
    l->sb.transition_us = clock_wall_us();
    log_event(LOG_LEVEL_DEBUG, "lifecycle", "transition", "sandbox", l->sb.id, "state",
              sandbox_state_name(to), "reason", reason, NULL);
}

void waiters_answer(struct waiter **list, const struct sandbox *sb, const struct err *err)
{
    struct waiter *w = take_ptr(list);

    while (w != NULL) {
        struct waiter *next = w->next;
        if (w->done != NULL)
            w->done(w->arg, sb, err);
        free(w);
        w = next;
    }
}

const struct sandbox *lifecycle_find(struct lifecycle *lc, const char *id)
{
    struct live *l = live_find(lc, id);

    return l != NULL && !l->starting && l->sb.state != SANDBOX_STOPPING ? &l->sb : NULL;
}

void lifecycle_counts(const struct lifecycle *lc, struct lifecycle_counts *ret_counts)
{
    struct live *l, *tmp;

    *ret_counts = lc->counts;
    memset(ret_counts->by_state, 0, sizeof(ret_counts->by_state));
    HASH_ITER(hh, lc->registry, l, tmp)
    ret_counts->by_state[l->sb.state]++;
}
