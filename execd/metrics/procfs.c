#include "execd/metrics/procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fd.h"

#define PROCESSES_MAX 4096 /* a walk takes at most some 40 ms, whatever the workload does */

uint64_t procfs_memory_total(void)
{
    char text[4096];
    unsigned long long kib;

    if (fd_slurp_at(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) < 0 ||
        sscanf(text, "MemTotal: %llu kB", &kib) != 1)
        return 0;
    return kib * 1024;
}

int procfs_parse_stat(const char *text, uint64_t *ret_utime, uint64_t *ret_stime,
                      uint64_t *ret_threads, uint64_t *ret_rss_pages)
{
    const char *p = strrchr(text, ')'); /* the name may hold anything, parentheses too */
    unsigned long long utime, stime, threads, rss;

    if (p == NULL || sscanf(p + 1,
                            " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d "
                            "%*d %llu %*d %*u %*u %llu",
                            &utime, &stime, &threads, &rss) != 4)
        return -EINVAL;
    *ret_utime = utime;
    *ret_stime = stime;
    *ret_threads = threads;
    *ret_rss_pages = rss;
    return 0;
}

static void add_process(int proc_fd, const char *pid, struct sample *s)
{
    char path[300], text[1024];
    uint64_t utime, stime, threads, rss;

    snprintf(path, sizeof(path), "%s/stat", pid);
    if (fd_slurp_at(proc_fd, path, text, sizeof(text)) < 0 ||
        procfs_parse_stat(text, &utime, &stime, &threads, &rss) < 0)
        return; /* it is gone already */
    uint64_t tick_us = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
    s->cpu_user_us += utime * tick_us;
    s->cpu_system_us += stime * tick_us;
    s->threads += threads;
    s->mem_rss += rss * (uint64_t)sysconf(_SC_PAGESIZE);
    s->pids++;
}

void procfs_sample_processes(struct sample *s)
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;

    if (dir == NULL)
        return;
    s->cpu_user_us = s->cpu_system_us = s->mem_rss = s->threads = s->pids = 0;
    for (unsigned n = 0; n < PROCESSES_MAX && (entry = readdir(dir)) != NULL; n++) {
        if (isdigit((unsigned char)entry->d_name[0]))
            add_process(dirfd(dir), entry->d_name, s);
    }
    closedir(dir);
    s->cpu_total_us = s->cpu_user_us + s->cpu_system_us;
    s->mem_used = s->mem_usage = s->mem_rss;
}
