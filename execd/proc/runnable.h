/*
 * Whether a process would go on if it had a CPU: on a machine without time to spare, silence is no answer.
 *
 * Thread rule: any thread. Source: proc_pid_stat(5), hardening.md N04.
 */
#pragma once

#include <sys/types.h>

#include "proto/base/defs.h"

/* One of its threads runs, waits for its turn, or for a disk; of our own process: one besides the caller. Looks at 256
 * threads at most. False when there is no such process. */
bool proc_is_runnable(pid_t pid);

/* The pure part: the state in a line of /proc/PID/stat says so. */
bool proc_state_is_runnable(const char *stat_line);
