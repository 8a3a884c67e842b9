#include "execd/metrics/cgroup_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/fd.h"
#include "proto/base/str.h"

#define FILE_TEXT_MAX 16384
/* v1 shows "no limit" as the largest multiple of the page size. */
#define V1_UNLIMITED (UINT64_C(1) << 62)

static bool read_text(int dirfd, const char *file, char *buf, size_t size)
{
    return dirfd >= 0 && fd_slurp_at(dirfd, file, buf, size) >= 0;
}

static uint64_t read_number(int dirfd, const char *file, uint64_t missing)
{
    uint64_t value;

    return dirfd >= 0 && cgroup_read_u64(dirfd, file, &value) == 0 ? value : missing;
}

/* One value of a flat keyed file. */
struct key {
    const char *name;
    uint64_t *value; /* stays what it was where the key is missing */
};

static void take_line(const char *line, size_t len, const struct key *keys, size_t n_keys)
{
    const char *blank = memchr(line, ' ', len);
    char number[24];
    uint64_t value;

    if (blank == NULL || (size_t)(line + len - blank) > sizeof(number))
        return;
    memcpy(number, blank + 1, (size_t)(line + len - blank - 1));
    number[line + len - blank - 1] = '\0';
    for (size_t i = 0; i < n_keys; i++) {
        if (strlen(keys[i].name) == (size_t)(blank - line) &&
            memcmp(keys[i].name, line, (size_t)(blank - line)) == 0 &&
            str_to_u64(number, &value) == 0)
            *keys[i].value = value;
    }
}

/* Reads the file once, whatever is wanted of it; false when it is not there. */
static bool read_keys(int dirfd, const char *file, const struct key *keys, size_t n_keys)
{
    char text[FILE_TEXT_MAX];

    if (!read_text(dirfd, file, text, sizeof(text)))
        return false;
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        take_line(line, len, keys, n_keys);
        line += len + (line[len] == '\n');
    }
    return true;
}

int cgroup_parse_cpu_max(const char *text, double *ret_cpus)
{
    unsigned long long quota, period;

    if (strncmp(text, "max", 3) == 0) {
        *ret_cpus = 0;
        return 0;
    }
    if (sscanf(text, "%llu %llu", &quota, &period) != 2 || period == 0)
        return -EINVAL;
    *ret_cpus = (double)quota / (double)period;
    return 0;
}

static void cpu_v2(int fd, struct sample *s)
{
    uint64_t total = UINT64_MAX;
    const struct key keys[] = {
        {"usage_usec", &total},
        {"user_usec", &s->cpu_user_us},
        {"system_usec", &s->cpu_system_us},
        {"nr_periods", &s->cpu_periods},
        {"nr_throttled", &s->cpu_throttled},
        {"throttled_usec", &s->cpu_throttled_us},
    };
    char text[128];

    if (!read_keys(fd, "cpu.stat", keys, ARRAY_LEN(keys)) || total == UINT64_MAX)
        return;
    s->has |= SAMPLE_CPU;
    s->cpu_total_us = total;
    if (read_text(fd, "cpu.max", text, sizeof(text)) &&
        cgroup_parse_cpu_max(text, &s->cpu_limit) < 0)
        s->cpu_limit = 0;
}

static void cpu_v1(const struct cgroup_dirs *d, struct sample *s)
{
    int acct = d->fd[CGROUP_CPUACCT], cpu = d->fd[CGROUP_CPU];
    uint64_t usage_ns = read_number(acct, "cpuacct.usage", UINT64_MAX);
    uint64_t throttled_ns = 0;
    const struct key keys[] = {{"nr_periods", &s->cpu_periods},
                               {"nr_throttled", &s->cpu_throttled},
                               {"throttled_time", &throttled_ns}};
    char text[64];
    long long quota = -1;

    if (usage_ns != UINT64_MAX) {
        s->has |= SAMPLE_CPU;
        s->cpu_total_us = usage_ns / 1000;
        s->cpu_user_us = read_number(acct, "cpuacct.usage_user", 0) / 1000;
        s->cpu_system_us = read_number(acct, "cpuacct.usage_sys", 0) / 1000;
    }
    (void)read_keys(cpu, "cpu.stat", keys, ARRAY_LEN(keys)); /* missing: zeroes */
    s->cpu_throttled_us = throttled_ns / 1000;
    uint64_t period = read_number(cpu, "cpu.cfs_period_us", 0);
    if (period > 0 && read_text(cpu, "cpu.cfs_quota_us", text, sizeof(text)) &&
        sscanf(text, "%lld", &quota) == 1 && quota > 0)
        s->cpu_limit = (double)quota / (double)period;
}

void cgroup_sample_cpu(const struct cgroup_dirs *d, struct sample *s)
{
    if (d->v2[CGROUP_CPU] && d->fd[CGROUP_CPU] >= 0)
        cpu_v2(d->fd[CGROUP_CPU], s);
    else
        cpu_v1(d, s);
}

/* Names differ by version. The working set is what is charged without file pages that nobody has touched for long. */
static void read_memory_stat(int fd, const char *cache, const char *rss, const char *inactive,
                             struct sample *s)
{
    uint64_t idle = 0;
    const struct key keys[] = {{cache, &s->mem_cache}, {rss, &s->mem_rss}, {inactive, &idle}};

    (void)read_keys(fd, "memory.stat", keys, ARRAY_LEN(keys)); /* missing: zeroes */
    s->mem_used = s->mem_usage > idle ? s->mem_usage - idle : 0;
}

static void memory_v2(int fd, struct sample *s)
{
    uint64_t limit = read_number(fd, "memory.max", UINT64_MAX);

    s->mem_usage = read_number(fd, "memory.current", UINT64_MAX);
    if (s->mem_usage == UINT64_MAX) { /* a group without the memory controller */
        s->mem_usage = 0;
        return;
    }
    s->has |= SAMPLE_MEMORY | SAMPLE_OOM;
    s->mem_limit = limit == UINT64_MAX ? 0 : limit;
    s->mem_peak = read_number(fd, "memory.peak", 0);
    read_memory_stat(fd, "file", "anon", "inactive_file", s);
    const struct key events[] = {{"oom", &s->oom_events}, {"oom_kill", &s->oom_kills}};
    (void)read_keys(fd, "memory.events", events, ARRAY_LEN(events)); /* missing: zeroes */
}

static void memory_v1(int fd, struct sample *s)
{
    uint64_t limit = read_number(fd, "memory.limit_in_bytes", 0), kills = UINT64_MAX;

    s->mem_usage = read_number(fd, "memory.usage_in_bytes", UINT64_MAX);
    if (s->mem_usage == UINT64_MAX) {
        s->mem_usage = 0;
        return;
    }
    s->has |= SAMPLE_MEMORY;
    s->mem_limit = limit < V1_UNLIMITED ? limit : 0;
    s->mem_peak = read_number(fd, "memory.max_usage_in_bytes", 0);
    read_memory_stat(fd, "total_cache", "total_rss", "total_inactive_file", s);
    s->oom_events = read_number(fd, "memory.failcnt", 0);
    const struct key oom[] = {{"oom_kill", &kills}};
    if (read_keys(fd, "memory.oom_control", oom, 1) && kills != UINT64_MAX) {
        s->has |= SAMPLE_OOM;
        s->oom_kills = kills;
    }
}

void cgroup_sample_memory(const struct cgroup_dirs *d, struct sample *s)
{
    int fd = d->fd[CGROUP_MEMORY];

    if (fd >= 0 && d->v2[CGROUP_MEMORY])
        memory_v2(fd, s);
    else if (fd >= 0)
        memory_v1(fd, s);
}

void cgroup_sample_pids(const struct cgroup_dirs *d, struct sample *s)
{
    int fd = d->fd[CGROUP_PIDS];
    uint64_t current = read_number(fd, "pids.current", UINT64_MAX);

    if (current == UINT64_MAX)
        return;
    s->has |= SAMPLE_PIDS;
    s->pids = current;
    uint64_t max = read_number(fd, "pids.max", UINT64_MAX);
    s->pids_max = max == UINT64_MAX ? 0 : max;
}

static uint64_t value_after(const char *line, const char *end, const char *key)
{
    const char *p = memmem(line, (size_t)(end - line), key, strlen(key));

    return p != NULL ? strtoull(p + strlen(key), NULL, 10) : 0;
}

void cgroup_parse_io_stat(const char *text, struct sample *s)
{
    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        s->io_read_bytes += value_after(line, end, "rbytes=");
        s->io_write_bytes += value_after(line, end, "wbytes=");
        s->io_reads += value_after(line, end, "rios=");
        s->io_writes += value_after(line, end, "wios=");
        line = *end == '\n' ? end + 1 : end;
    }
}

void cgroup_parse_blkio(const char *text, uint64_t *ret_read, uint64_t *ret_write)
{
    *ret_read = *ret_write = 0;
    for (const char *line = text; *line != '\0';) {
        const char *end = strchrnul(line, '\n');
        *ret_read += value_after(line, end, " Read ");
        *ret_write += value_after(line, end, " Write ");
        line = *end == '\n' ? end + 1 : end;
    }
}

void cgroup_sample_io(const struct cgroup_dirs *d, struct sample *s)
{
    int fd = d->fd[CGROUP_IO];
    char text[FILE_TEXT_MAX];

    if (d->v2[CGROUP_IO]) {
        if (!read_text(fd, "io.stat", text, sizeof(text)))
            return;
        cgroup_parse_io_stat(text, s);
        s->has |= SAMPLE_IO;
        return;
    }
    if (!read_text(fd, "blkio.throttle.io_service_bytes_recursive", text, sizeof(text)) &&
        !read_text(fd, "blkio.throttle.io_service_bytes", text, sizeof(text)))
        return;
    s->has |= SAMPLE_IO;
    cgroup_parse_blkio(text, &s->io_read_bytes, &s->io_write_bytes);
    if (read_text(fd, "blkio.throttle.io_serviced_recursive", text, sizeof(text)) ||
        read_text(fd, "blkio.throttle.io_serviced", text, sizeof(text)))
        cgroup_parse_blkio(text, &s->io_reads, &s->io_writes);
}
