#include "execd/metrics/sampler.h"

#include <sched.h>

#include "execd/metrics/cgroup_files.h"
#include "execd/metrics/procfs.h"
#include "execd/proc/leaf.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

#define PROC_AGE_MS 1000

struct sampler {
    const struct cgroup_dirs *dirs; /* borrowed */
    int min_age_ms;
    int64_t taken_ns; /* monotonic time of `current` */
    struct sample current;
    uint64_t base_cpu_us; /* CPU time and instant that percentages count from */
    int64_t base_ns;
};

/* CPUs this process may run on: sched_getaffinity counts what cpusets leave. */
static unsigned cpus_allowed(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

static void count_cpus(struct sample *s)
{
    unsigned allowed = MAX(cpus_allowed(), 1U);

    s->cpu_count = allowed;
    if (s->cpu_limit > 0 && s->cpu_limit < allowed)
        s->cpu_count = MAX((unsigned)s->cpu_limit,
                           1U); /* rounded down, at least one (contracts/execd.md 1.12) */
}

static void count_memory(struct sample *s)
{
    uint64_t host = procfs_memory_total();

    s->mem_total = s->mem_limit != 0 && (host == 0 || s->mem_limit < host) ? s->mem_limit : host;
    if (s->mem_total != 0 && s->mem_used > s->mem_total)
        s->mem_used = s->mem_total; /* clients rely on used ≤ total */
}

static void take(const struct sampler *sampler, struct sample *s)
{
    *s = (struct sample){.wall_ms = clock_wall_ms()};
    cgroup_sample_cpu(sampler->dirs, s);
    cgroup_sample_memory(sampler->dirs, s);
    if (!sampler->dirs->v2[CGROUP_MEMORY])
        s->oom_kills += leaf_oom_kills();
    cgroup_sample_pids(sampler->dirs, s);
    cgroup_sample_io(sampler->dirs, s);
    cgroup_sample_pressure(sampler->dirs, s);
    s->from_cgroup = (s->has & (SAMPLE_CPU | SAMPLE_MEMORY)) == (SAMPLE_CPU | SAMPLE_MEMORY);
    if (!s->from_cgroup)
        procfs_sample_processes(s);
    count_cpus(s);
    count_memory(s);
}

/* Share of the CPUs that it may use, over the time since the previous sample. */
static double percent(const struct sampler *sampler, const struct sample *s, int64_t now_ns)
{
    double capacity = s->cpu_limit > 0 ? s->cpu_limit : (double)s->cpu_count;
    double elapsed_us = (double)(now_ns - sampler->base_ns) / 1e3;

    if (elapsed_us <= 0 || s->cpu_total_us < sampler->base_cpu_us)
        return 0;
    double pct = 100.0 * (double)(s->cpu_total_us - sampler->base_cpu_us) / elapsed_us / capacity;
    return MIN(pct, 100.0);
}

int sampler_new(const struct cgroup_dirs *dirs, int min_age_ms, struct sampler **ret_sampler)
{
    struct sampler *s = xnew(struct sampler);

    s->dirs = dirs;
    s->min_age_ms = min_age_ms;
    take(s, &s->current);
    s->base_ns = s->taken_ns = clock_monotonic_ns();
    s->base_cpu_us = s->current.cpu_total_us;
    *ret_sampler = s;
    return 0;
}

void sampler_free(struct sampler *s)
{
    free(s);
}

const struct sample *sampler_get(struct sampler *s)
{
    int64_t now_ns = clock_monotonic_ns();
    struct sample fresh;

    /* A walk through /proc costs more than a few files do. */
    int age_ms = s->current.from_cgroup ? s->min_age_ms : MAX(s->min_age_ms, PROC_AGE_MS);
    if (now_ns - s->taken_ns < (int64_t)age_ms * 1000000)
        return &s->current;
    take(s, &fresh);
    fresh.cpu_used_pct = percent(s, &fresh, now_ns);
    s->base_cpu_us = fresh.cpu_total_us;
    s->base_ns = s->taken_ns = now_ns;
    s->current = fresh;
    return &s->current;
}
