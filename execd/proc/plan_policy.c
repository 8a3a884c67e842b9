#include "execd/proc/plan_policy.h"

#include <errno.h>
#include <linux/capability.h>
#include <unistd.h>

#include "execd/harden/caps.h"
#include "execd/harden/landlock.h"
#include "execd/harden/profile.h"
#include "proto/api/errors.h"
#include "proto/base/fd.h"

static int add_rlimits(const struct policy *policy, struct spawn_plan *plan, struct err *err)
{
    bool may_raise = caps_have(CAP_SYS_RESOURCE);
    for (size_t i = 0; i < policy->n_rlimits; i++) {
        const struct policy_rlimit *wanted = &policy->rlimits[i];
        struct rlimit ours;
        if (plan->n_rlimits == PLAN_RLIMITS_MAX)
            return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "policy.rlimits: too many");
        if (getrlimit((__rlimit_resource_t)wanted->resource, &ours) < 0)
            return err_sys(err, ERR_POLICY_UNSUPPORTED, errno, "policy.rlimits");
        if (!may_raise && wanted->limit.rlim_max > ours.rlim_max)
            return err_set(err, ERR_POLICY_UNSUPPORTED, EPERM,
                           "policy.rlimits: the hard limit here is %llu, and raising it needs "
                           "CAP_SYS_RESOURCE",
                           (unsigned long long)ours.rlim_max);
        plan->rlimits[plan->n_rlimits++] =
            (struct plan_rlimit){.resource = wanted->resource, .limit = wanted->limit};
    }
    return 0;
}

/* What is not there need not be dropped. */
static int add_caps(const struct policy *policy, struct spawn_plan *plan, struct err *err)
{
    uint64_t drop = policy->drop_caps & caps_bounding();
    if (drop != 0 && !caps_have(CAP_SETPCAP))
        return err_set(err, ERR_POLICY_UNSUPPORTED, EPERM,
                       "policy.drop_caps: needs CAP_SETPCAP, which execd does not have here");
    plan->drop_caps |= drop;
    return 0;
}

int policy_add_to_plan(const struct policy *policy, struct spawn_plan *plan, struct err *err)
{
    unsigned parts =
        (policy->hardened ? PROFILE_HARDENED : 0U) | (policy->no_network ? PROFILE_NO_NETWORK : 0U);
    int rc = add_rlimits(policy, plan, err);
    if (rc == 0)
        rc = add_caps(policy, plan, err);
    if (rc == 0 && parts != 0)
        rc = profile_get(parts, &plan->seccomp, err);
    if (rc == 0 && policy->has_landlock)
        rc = landlock_ruleset(&policy->landlock, &plan->landlock_fd, err);
    if (rc < 0)
        return rc;
    plan->nice += (int)policy->nice;
    plan->no_new_privs = plan->no_new_privs || policy->no_new_privs;
    return 0;
}

void policy_remove_from_plan(struct spawn_plan *plan)
{
    if (plan->landlock_fd >= 0)
        close(take_fd(&plan->landlock_fd));
}
