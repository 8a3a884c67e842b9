/* The policy of a command: what decodes keeps its limits, what does not says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/harden/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct policy *p)
{
    const struct policy_landlock *l = &p->landlock;
    if (p->nice > 19 || p->n_rlimits > POLICY_RLIMITS_MAX || l->tcp_bind.n > POLICY_PORTS_MAX ||
        l->tcp_connect.n > POLICY_PORTS_MAX || l->ro.n > POLICY_PATHS_MAX ||
        l->rw.n > POLICY_PATHS_MAX || l->exec.n > POLICY_PATHS_MAX)
        abort();
    if ((p->has_landlock || p->hardened || p->no_network) && !p->no_new_privs)
        abort();
    for (size_t i = 0; i < l->exec.n; i++)
        if (l->exec.items[i][0] != '/')
            abort();
    for (size_t i = 0; i < p->n_rlimits; i++)
        if (p->rlimits[i].limit.rlim_cur > p->rlimits[i].limit.rlim_max)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct policy policy;
    struct err err = {.text = ""};
    json_t *json;

    if (json_parse((const char *)data, size, &json, 0, &err) < 0)
        return 0;
    arena_init(&arena);
    if (policy_decode(json, &arena, &policy, &err) == 0)
        check(&policy);
    else if (policy.given || err.code == 0 || strncmp(err.text, "policy", 6) != 0)
        abort();
    arena_done(&arena);
    json_decref(json);
    return 0;
}
