/*
 * What one living process has used, for where there is no control group to ask.
 *
 * Times are those of the process and of the children that it waited for; memory is the process's own alone.
 * Thread rule: any thread. Source: proc_pid_stat(5), proc_pid_status(5).
 */
#pragma once

#include "execd/proc/leaf.h"

/* Everything 0 and from_proc false when there is no such process. */
void proc_usage_read(pid_t pid, struct leaf_usage *ret_usage);

/* The pure parts. -EBADMSG. */
int proc_usage_parse_stat(const char *text, long ticks_per_second,
                          struct leaf_usage *usage) must_check;
void proc_usage_parse_status(const char *text, struct leaf_usage *usage); /* what is there */
