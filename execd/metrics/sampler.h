/*
 * What this sandbox uses: one shared sampler over its own cgroup (v1, v2, hybrid) with /proc as the fallback.
 *
 * Values are the sandbox's own, never the host's. CPU percent is the delta between the two latest samples; a reader
 * never waits: the first sample is taken at start, then at most one per min_age_ms, on demand (per second where /proc
 * has to be walked). Each file is read once per sample.
 * Thread rule: loop thread only. Source: contracts/execd.md 1.12, kernel cgroup documentation.
 */
#pragma once

#include "proto/base/cgroupfs.h"

struct sampler;

/* Stalls for want of a resource: `some` task, or `full` i.e. all of them, waited. Shares of 100, and time since boot. */
enum sample_resource {
    SAMPLE_RESOURCE_CPU,
    SAMPLE_RESOURCE_MEMORY,
    SAMPLE_RESOURCE_IO,
    SAMPLE_RESOURCE_MAX
};
struct pressure {
    bool has_some, has_full;
    double some_avg10, full_avg10;
    uint64_t some_total_us, full_total_us;
};

struct sample {
    int64_t wall_ms;
    bool from_cgroup; /* else container-wide numbers from /proc */
    unsigned
        cpu_count; /* whole CPUs usable: quota rounded down, at least 1, at most the affinity mask */
    double cpu_limit;    /* CPUs by quota; 0 = none */
    double cpu_used_pct; /* 0..100 of the usable CPUs */
    uint64_t cpu_user_us, cpu_system_us, cpu_total_us;
    uint64_t cpu_periods, cpu_throttled, cpu_throttled_us;
    uint64_t mem_limit; /* 0 = none (then mem_total is the host's) */
    uint64_t mem_total, mem_used /* working set: usage - inactive file */, mem_usage, mem_peak,
        mem_cache, mem_rss;
    uint64_t oom_events, oom_kills;
    uint64_t pids, pids_max, threads;
    uint64_t io_read_bytes, io_write_bytes, io_reads, io_writes;
    struct pressure pressure[SAMPLE_RESOURCE_MAX];
    unsigned has; /* bits of enum sample_has: which families the kernel gave */
};
enum sample_has {
    SAMPLE_CPU = 1,
    SAMPLE_MEMORY = 2,
    SAMPLE_PIDS = 4,
    SAMPLE_IO = 8,
    SAMPLE_OOM = 16
};

const char *sample_resource_name(enum sample_resource r); /* "cpu", "memory", "io" */

/* dirs is borrowed and may have all fields -1. */
int sampler_new(const struct cgroup_dirs *dirs, int min_age_ms,
                struct sampler **ret_sampler) must_check;
void sampler_free(struct sampler *s);
const struct sample *
sampler_get(struct sampler *s); /* fresh enough; borrowed until the next call */
