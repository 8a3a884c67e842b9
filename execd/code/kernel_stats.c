#include "execd/code/kernel_stats.h"

#include <string.h>

#include "proto/base/clock.h"

#define OTHER "other"

const double kernel_time_bounds[KERNEL_TIME_BOUNDS] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
                                                       0.5,   0.75, 1,     2.5,  5,     7.5, 10};

struct kernel_type *kernel_stats_row(struct kernel_stats *stats, const char *type)
{
    bool fits = strlen(type) < KERNEL_TYPE_LEN;

    for (size_t i = 0; fits && i < stats->n; i++) {
        if (strcmp(stats->types[i].name, type) == 0)
            return &stats->types[i];
    }
    if ((!fits || stats->n >= KERNEL_TYPES_MAX - 1) && strcmp(type, OTHER) != 0)
        return kernel_stats_row(stats, OTHER);
    struct kernel_type *row = &stats->types[stats->n++];
    *row = (struct kernel_type){0};
    memcpy(row->name, type, strlen(type));
    return row;
}

static void observe(struct kernel_times *times, int64_t start_ns)
{
    double seconds = (double)(clock_monotonic_ns() - start_ns) / 1e9;
    size_t bucket = 0;

    while (bucket < KERNEL_TIME_BOUNDS && seconds > kernel_time_bounds[bucket])
        bucket++;
    times->counts[bucket]++;
    times->sum_s += seconds;
}

void kernel_stats_started(struct kernel_stats *stats, const char *type, int64_t start_ns)
{
    observe(&kernel_stats_row(stats, type)->starts, start_ns);
}

void kernel_stats_executed(struct kernel_stats *stats, const char *type, int64_t start_ns,
                           bool failed)
{
    struct kernel_type *row = kernel_stats_row(stats, type);

    if (failed) {
        row->n_failed++;
        return;
    }
    row->n_executed++;
    if (start_ns != 0)
        observe(&row->executions, start_ns);
}
