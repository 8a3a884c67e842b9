/*
 * Parsers behind cgroup_dirs_open_self, apart for their tests and fuzzer. Pure. Any thread.
 * Source: proc(5) "/proc/PID/cgroup" and "/proc/PID/mountinfo".
 */
#pragma once

#include "proto/base/cgroupfs.h"

/* Path of the own group in the hierarchy of controller `name` ("" = cgroup2) from the text of /proc/self/cgroup.
 * out has PATH_MAX bytes. -ENOENT. */
int cgroup_parse_own_path(const char *text, const char *name, char *out) must_check;

/* Where that hierarchy is mounted, and which of its folders is the mount's root, from /proc/self/mountinfo.
 * Both have PATH_MAX bytes. -ENOENT. */
int cgroup_parse_mount(const char *text, const char *name, char *ret_root,
                       char *ret_point) must_check;

/* Folder of the own group: the mount point and what of the group's path lies behind the mount's root. PATH_MAX bytes.
 * -ENOENT also when the group lies outside what the mount shows. */
int cgroup_own_folder(const char *cgroups, const char *mounts, const char *name,
                      char *out) must_check;
