/*
 * The only place in execd that forks and executes.
 *
 * clone3(CLONE_PIDFD) with memory of its own; clone(2) where clone3 is refused (container seccomp profiles answer
 * ENOSYS). The child reports {step, errno} over a CLOEXEC pipe, so that "no such directory" and "permission denied
 * on setuid" are told apart. Signal mask and all dispositions are reset in the child.
 *
 * Why neither CLONE_VM nor CLONE_VFORK, although copying costs more (measured: 0.1 to 0.2 ms per spawn
 * at idle size, 40 us more for each MB of touched memory):
 *   - a vfork parent sleeps without limit, and any process of the sandbox can send the child SIGSTOP before its
 *     exec, or let it exec from a file system that never answers: PID 1 would hang with it. Here the wait for the
 *     report has a deadline (SPAWN_DEADLINE_MS), after which the child is killed;
 *   - a child that shares memory without CLONE_VFORK takes PID 1 along when the OOM killer picks it inside the
 *     command's cgroup, and shares its oom_score_adj;
 *   - a child that changes its uid would change the dumpable flag of PID 1's own memory (hardening 6.3).
 * Memory that need not be copied (big buffers) can be kept out of the child by MADV_DONTFORK.
 *
 * Thread rule: loop thread only.
 */
#pragma once

#include <sys/resource.h>

#include "execd/proc/pidref.h"
#include "execd/proc/plan.h"

#define SPAWN_DEADLINE_MS 2000

/* On success *ret_child is set and the exec has happened. -errno with the failing step in err:
 * "exec '/x': No such file or directory", "change to uid 7: Operation not permitted (needs CAP_SETUID)".
 * -ETIMEDOUT when the child did not reach its exec in time. A failed child is reaped without notice. */
int spawn_process(const struct spawn_plan *plan, struct pidref *ret_child,
                  struct err *err) must_check;

/* What children get as RLIMIT_NOFILE: the limit that execd was started with, before it raised its own. */
void spawn_set_nofile(const struct rlimit *limit);

/* From now on children lose these capabilities (a bit each) and get this filter, beside what their plans say; but for
 * plans that are `trusted`. The filter is borrowed for good; the kernel takes it from a child without no_new_privs only
 * while it has CAP_SYS_ADMIN. */
void spawn_confine(uint64_t drop_caps, const struct sock_fprog *filter);

/* Fills candidates for a bare command name from the absolute entries of PATH in envp (contracts/v1.1.md 1.1);
 * strings come from the arena. A name with '/' yields itself, made absolute against cwd. -ENOENT when PATH has
 * no absolute entry. */
struct arena;
int spawn_resolve(const char *name, const char *const *envp, const char *cwd, struct arena *arena,
                  const char *const **ret_candidates, struct err *err) must_check;
