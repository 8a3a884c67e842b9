/*
 * The only place in execd that forks and executes.
 *
 * clone3(CLONE_VFORK | CLONE_VM is not used: the child shares nothing but is started vfork-like) with
 * CLONE_PIDFD; where clone3 is refused (old seccomp profiles) clone(2). The child reports {step, errno} over a
 * CLOEXEC pipe, so that "no such directory" and "permission denied on setuid" are told apart.
 * Signal mask and all dispositions are reset in the child. Thread rule: loop thread only.
 */
#pragma once

#include "execd/proc/pidref.h"
#include "execd/proc/plan.h"

/* On success *ret_child is set and the exec has happened. -errno with the failing step in err:
 * "exec '/x': No such file or directory", "change to uid 7: Operation not permitted (needs CAP_SETUID)". */
int spawn_process(const struct spawn_plan *plan, struct pidref *ret_child, struct err *err) must_check;

/* Fills candidates for a bare command name from the absolute entries of PATH in envp (contracts/v1.1.md 1.1);
 * strings come from the arena. A name with '/' yields itself, made absolute against cwd. */
struct arena;
int spawn_resolve(const char *name, const char *const *envp, const char *cwd, struct arena *arena,
                  const char *const **ret_candidates, struct err *err) must_check;
