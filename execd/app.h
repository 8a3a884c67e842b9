/*
 * The running agent: everything that config asks for, put together, served, and taken down in order.
 *
 * Composition root: may include everything, nobody but main includes it. Thread rule: main.
 */
#pragma once

#include "execd/config.h"
#include "proto/base/cgroupfs.h"

/* Serves until it is told to end. handed is taken over. Returns the exit code; on a failed start -errno with err. */
int app_run(const struct config *config, struct cgroup_dirs *handed, struct err *err) must_check;
