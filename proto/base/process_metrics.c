#include "proto/base/process_metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/base/fd.h"

static double seconds(const struct timeval *tv)
{
    return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

static void write_memory(struct strbuf *out, enum metric_format f)
{
    unsigned long long size, resident;
    double page = (double)sysconf(_SC_PAGESIZE);
    char text[128];

    if (fd_slurp_at(AT_FDCWD, "/proc/self/statm", text, sizeof(text)) < 0 ||
        sscanf(text, "%llu %llu", &size, &resident) != 2)
        return;
    metric_one(out, f, "process_virtual_memory_bytes", METRIC_GAUGE, "bytes",
               "Virtual memory size in bytes.", (double)size * page);
    metric_one(out, f, "process_resident_memory_bytes", METRIC_GAUGE, "bytes",
               "Resident memory size in bytes.", (double)resident * page);
}

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    if (dir == NULL)
        return -1;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 3; /* ".", "..", and this folder's own */
}

static void write_fds(struct strbuf *out, enum metric_format f)
{
    struct rlimit limit;
    int open_fds = count_fds();

    if (open_fds >= 0)
        metric_one(out, f, "process_open_fds", METRIC_GAUGE, NULL,
                   "Number of open file descriptors.", open_fds);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        metric_one(out, f, "process_max_fds", METRIC_GAUGE, NULL,
                   "Maximum number of open file descriptors.", (double)limit.rlim_cur);
}

void process_write_metrics(struct strbuf *out, enum metric_format f, int64_t started_wall_ms)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) == 0)
        metric_one(out, f, "process_cpu_seconds", METRIC_COUNTER, "seconds",
                   "Total user and system CPU time spent in seconds.",
                   seconds(&usage.ru_utime) + seconds(&usage.ru_stime));
    write_memory(out, f);
    write_fds(out, f);
    metric_one(out, f, "process_start_time_seconds", METRIC_GAUGE, "seconds",
               "Start time of the process since unix epoch in seconds.",
               (double)started_wall_ms / 1e3);
}
