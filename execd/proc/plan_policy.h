/*
 * From a policy to parts of a spawn plan: what can fail or allocate is done here, in the parent.
 *
 *     policy_add_to_plan(&policy, &plan, err) ... spawn_process(&plan, ...) ... policy_remove_from_plan(&plan)
 *
 * The plan owns the ruleset's descriptor until policy_remove_from_plan, which is legal on every plan after plan_init.
 * Thread rule: loop thread only.
 */
#pragma once

#include "execd/harden/policy.h"
#include "execd/proc/plan.h"

/* POLICY_UNSUPPORTED when the kernel or the container's privileges do not suffice: nothing has started then. */
int policy_add_to_plan(const struct policy *policy, struct spawn_plan *plan,
                       struct err *err) must_check;
void policy_remove_from_plan(struct spawn_plan *plan);
