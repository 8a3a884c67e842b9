/*
 * What the entrypoint and life-cycle hooks are started with: execd's standard streams, its start directory, and the
 * environment that children get. Thread rule: loop thread only.
 */
#pragma once

#include "execd/proc/plan.h"
#include "proto/base/err.h"

struct arena;

/* argv is borrowed by the plan, everything else lives in the arena. -errno with its text. */
int child_plan(const char *const *argv, struct arena *arena, struct spawn_plan *ret_plan,
               struct err *err) must_check;
