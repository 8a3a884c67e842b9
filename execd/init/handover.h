/*
 * Taking over what the native runtime hands to execd: the sandbox's own cgroup, as open directories.
 *
 * Protocol, for the side that starts execd:
 *   - Open the sandbox's own cgroup directory in every hierarchy that has a limit or counts something (O_PATH is
 *     not enough on old kernels: O_RDONLY|O_DIRECTORY), leave the descriptors open over exec (no CLOEXEC), any
 *     numbers ≥ 3, and name them in the environment:
 *       EXECD_CGROUP_FDS="memory:5,cpu:6,cpuacct:7,pids:8,freezer:9,devices:10,io:11,unified:12+v2"
 *     A name is one of cpu cpuacct memory pids io freezer devices unified ("blkio" is taken for io); "+v2" behind
 *     the number says that the directory lies in a cgroup2 hierarchy. Several names may share one number: on a
 *     host with cgroup2 only, "cpu:5+v2,memory:5+v2,pids:5+v2,io:5+v2,unified:5+v2".
 *   - execd's process is a member of exactly these groups, and the limits are set on them.
 *   - The directories, their cgroup.procs and tasks files and, on cgroup2, cgroup.subtree_control belong to the
 *     user that is root inside (execd makes child groups with its own credentials). No other file needs to.
 *
 * What execd does with it: the descriptors are taken (CLOEXEC from now on) and the variable is removed. Below each
 * directory it makes `init`, where it puts itself, and `work`, where every command, session and kernel gets a leaf
 * of its own; `work` is limited a little below the sandbox's own limits, so that PID 1 can still breathe when the
 * workload has eaten everything (hardening M21): see leaf.h. The groups `init` and `work` are still there when the
 * sandbox has ended: whoever made the sandbox's group removes its children, deepest first.
 *
 * Thread rule: main, before the loop.
 */
#pragma once

#include "proto/base/cgroupfs.h"

#define HANDOVER_ENV "EXECD_CGROUP_FDS"

/* Descriptors named by the variable, before all others are closed. A malformed variable is -EINVAL with its text;
 * 0 without any when there is none. Nothing is taken on failure. */
int handover_take(struct cgroup_dirs *ret_dirs, struct err *err) must_check;

/* The parser alone: descriptors are numbers in ret_dirs, not touched. */
int handover_parse(const char *text, struct cgroup_dirs *ret_dirs, struct err *err) must_check;
