#include "server/model/sandbox.h"

#include <errno.h>
#include <strings.h>

static const char *const state_names[SANDBOX_STATE_MAX] = {
    [SANDBOX_PENDING] = "Pending",       [SANDBOX_RUNNING] = "Running",
    [SANDBOX_PAUSED] = "Paused",         [SANDBOX_STOPPING] = "Stopping",
    [SANDBOX_TERMINATED] = "Terminated", [SANDBOX_FAILED] = "Failed",
};

/* One past the enum so that a zeroed cell means "refused". */
#define TO(state) ((unsigned char)((state) + 1))

/*
 *            STARTED      EXITED        BROKE     PAUSE      RESUME     DELETE      RENEW
 * PENDING    Running      Terminated    Failed    -          -          Stopping    Pending
 * RUNNING    -            Terminated    Failed    Paused     -          Stopping    Running
 * PAUSED     -            Terminated    Failed    -          Running    Stopping    Paused
 * STOPPING   -            Stopping      Stopping  -          -          Stopping    -
 * TERMINATED -            -             -         -          -          Stopping    Terminated
 * FAILED     -            -             -         -          -          Stopping    Failed
 */
static const unsigned char transitions[SANDBOX_STATE_MAX][SANDBOX_OP_MAX] = {
    [SANDBOX_PENDING] = {[SANDBOX_OP_STARTED] = TO(SANDBOX_RUNNING),
                         [SANDBOX_OP_EXITED] = TO(SANDBOX_TERMINATED),
                         [SANDBOX_OP_BROKE] = TO(SANDBOX_FAILED),
                         [SANDBOX_OP_DELETE] = TO(SANDBOX_STOPPING),
                         [SANDBOX_OP_RENEW] = TO(SANDBOX_PENDING)},
    [SANDBOX_RUNNING] = {[SANDBOX_OP_EXITED] = TO(SANDBOX_TERMINATED),
                         [SANDBOX_OP_BROKE] = TO(SANDBOX_FAILED),
                         [SANDBOX_OP_PAUSE] = TO(SANDBOX_PAUSED),
                         [SANDBOX_OP_DELETE] = TO(SANDBOX_STOPPING),
                         [SANDBOX_OP_RENEW] = TO(SANDBOX_RUNNING)},
    [SANDBOX_PAUSED] = {[SANDBOX_OP_EXITED] = TO(SANDBOX_TERMINATED),
                        [SANDBOX_OP_BROKE] = TO(SANDBOX_FAILED),
                        [SANDBOX_OP_RESUME] = TO(SANDBOX_RUNNING),
                        [SANDBOX_OP_DELETE] = TO(SANDBOX_STOPPING),
                        [SANDBOX_OP_RENEW] = TO(SANDBOX_PAUSED)},
    [SANDBOX_STOPPING] = {[SANDBOX_OP_EXITED] = TO(SANDBOX_STOPPING),
                          [SANDBOX_OP_BROKE] = TO(SANDBOX_STOPPING),
                          [SANDBOX_OP_DELETE] = TO(SANDBOX_STOPPING)},
    [SANDBOX_TERMINATED] =
        {[SANDBOX_OP_DELETE] = TO(SANDBOX_STOPPING), [SANDBOX_OP_RENEW] = TO(SANDBOX_TERMINATED)},
    [SANDBOX_FAILED] =
        {[SANDBOX_OP_DELETE] = TO(SANDBOX_STOPPING), [SANDBOX_OP_RENEW] = TO(SANDBOX_FAILED)},
};

const char *sandbox_state_name(enum sandbox_state s)
{
    return s < SANDBOX_STATE_MAX ? state_names[s] : "Unknown";
}

int sandbox_state_parse(const char *text, enum sandbox_state *ret_state)
{
    for (unsigned s = 0; s < SANDBOX_STATE_MAX; s++) {
        if (strcasecmp(text, state_names[s]) == 0) {
            *ret_state = (enum sandbox_state)s;
            return 0;
        }
    }
    return -EINVAL;
}

int sandbox_transition(enum sandbox_state from, enum sandbox_op op, enum sandbox_state *ret_to)
{
    if (from >= SANDBOX_STATE_MAX || op >= SANDBOX_OP_MAX || transitions[from][op] == 0)
        return -EINVAL;
    *ret_to = (enum sandbox_state)(transitions[from][op] - 1);
    return 0;
}
