/*
 * What a leaf has used, by the file names of its cgroup version.
 * Source: kernel cgroup-v2.rst, cgroup-v1/{memory,cpuacct,blkio-controller}.rst.
 */
#include "execd/proc/leaf_priv.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/fd.h"

#define IO_TEXT_MAX 16384

/* The value stays as it was when the file or the key is missing. */
static void keyed(int fd, const char *file, const char *key, uint64_t *value, uint64_t divisor)
{
    uint64_t read;
    if (fd >= 0 && cgroup_read_keyed(fd, file, key, &read) == 0)
        *value = read / divisor;
}

static void single(int fd, const char *file, uint64_t *value, uint64_t divisor)
{
    uint64_t read;
    if (fd >= 0 && cgroup_read_u64(fd, file, &read) == 0 && read < UINT64_C(1) << 60)
        *value = read / divisor;
}

static void cpu(const struct cgroup_dirs *d, struct leaf_usage *u)
{
    int fd = d->fd[CGROUP_CPU];
    if (fd >= 0 && d->v2[CGROUP_CPU]) {
        keyed(fd, "cpu.stat", "user_usec", &u->cpu_user_us, 1);
        keyed(fd, "cpu.stat", "system_usec", &u->cpu_system_us, 1);
        keyed(fd, "cpu.stat", "throttled_usec", &u->throttled_us, 1);
        return;
    }
    single(d->fd[CGROUP_CPUACCT], "cpuacct.usage_user", &u->cpu_user_us, 1000);
    single(d->fd[CGROUP_CPUACCT], "cpuacct.usage_sys", &u->cpu_system_us, 1000);
    keyed(fd, "cpu.stat", "throttled_time", &u->throttled_us, 1000);
}

static void memory(const struct cgroup_dirs *d, struct leaf_usage *u)
{
    int fd = d->fd[CGROUP_MEMORY];
    bool v2 = d->v2[CGROUP_MEMORY];
    single(fd, v2 ? "memory.peak" : "memory.max_usage_in_bytes", &u->memory_peak, 1);
    single(fd, v2 ? "memory.current" : "memory.usage_in_bytes", &u->memory_now, 1);
    single(fd, v2 ? "memory.max" : "memory.limit_in_bytes", &u->memory_limit, 1);
    keyed(fd, v2 ? "memory.events" : "memory.oom_control", "oom_kill", &u->oom_kills, 1);
}

/* v2: "8:0 rbytes=1 wbytes=2 ..."; v1: "8:0 Read 1\n8:0 Write 2\n". Sums what follows each label. */
static uint64_t sum_after(const char *text, const char *label)
{
    uint64_t sum = 0;
    for (const char *at = text; (at = strstr(at, label)) != NULL;) {
        at += strlen(label);
        sum += strtoull(at, NULL, 10);
    }
    return sum;
}

static void io(const struct cgroup_dirs *d, struct leaf_usage *u)
{
    int fd = d->fd[CGROUP_IO];
    bool v2 = d->v2[CGROUP_IO];
    char text[IO_TEXT_MAX];
    if (fd < 0 ||
        fd_slurp_at(fd, v2 ? "io.stat" : "blkio.throttle.io_service_bytes", text, sizeof(text)) < 0)
        return;
    u->io_read = sum_after(text, v2 ? "rbytes=" : " Read ");
    u->io_written = sum_after(text, v2 ? "wbytes=" : " Write ");
}

void leaf_usage_from_group(const struct cgroup_dirs *d, struct leaf_usage *ret_usage)
{
    ret_usage->from_cgroup = true;
    cpu(d, ret_usage);
    memory(d, ret_usage);
    io(d, ret_usage);
    single(d->fd[CGROUP_PIDS], "pids.peak", &ret_usage->pids_peak, 1);
}
