#include "execd/proc/proc_usage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fd.h"

#define TEXT_MAX 4096

/* "pid (comm) S ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime": comm may
 * hold anything, so the last parenthesis counts. */
int proc_usage_parse_stat(const char *text, long ticks_per_second, struct leaf_usage *usage)
{
    unsigned long long user, system, user_children, system_children;
    const char *at = strrchr(text, ')');
    if (!at || ticks_per_second <= 0 ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user,
               &system, &user_children, &system_children) != 4)
        return -EBADMSG;
    uint64_t tick_us = UINT64_C(1000000) / (uint64_t)ticks_per_second;
    usage->cpu_user_us = (user + user_children) * tick_us;
    usage->cpu_system_us = (system + system_children) * tick_us;
    usage->from_proc = true;
    return 0;
}

static uint64_t kib_after(const char *text, const char *label)
{
    const char *at = strstr(text, label);
    return at ? strtoull(at + strlen(label), NULL, 10) * 1024 : 0;
}

/* The first line holds a name without line ends, so that "\nVm..." is always a label. */
void proc_usage_parse_status(const char *text, struct leaf_usage *usage)
{
    usage->memory_peak = kib_after(text, "\nVmHWM:");
    usage->memory_now = kib_after(text, "\nVmRSS:");
}

void proc_usage_read(pid_t pid, struct leaf_usage *ret_usage)
{
    char path[32], text[TEXT_MAX];
    *ret_usage = (struct leaf_usage){0};
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid); /* fits */
    if (fd_slurp_at(AT_FDCWD, path, text, sizeof(text)) < 0 ||
        proc_usage_parse_stat(text, sysconf(_SC_CLK_TCK), ret_usage) < 0)
        return;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", pid); /* as above */
    if (fd_slurp_at(AT_FDCWD, path, text, sizeof(text)) >= 0)
        proc_usage_parse_status(text, ret_usage);
}
