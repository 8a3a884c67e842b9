#include "execd/api/kernel_metrics.h"

static void write_times(struct strbuf *out, enum metric_format f, const struct kernel_stats *stats,
                        const char *name, const char *help, bool starts)
{
    metric_family(out, f, name, METRIC_HISTOGRAM, "seconds", help);
    for (size_t i = 0; i < stats->n; i++) {
        const struct kernel_type *type = &stats->types[i];
        const struct kernel_times *times = starts ? &type->starts : &type->executions;
        metric_histogram(out, name, kernel_time_bounds, times->counts, KERNEL_TIME_BOUNDS,
                         times->sum_s, "kernel_type", type->name);
    }
}

/* Two counts of each type, told apart by a label. */
static void write_pairs(struct strbuf *out, enum metric_format f, const struct kernel_stats *stats,
                        const char *name, const char *help, const char *label,
                        const char *const values[2],
                        void (*counts)(const struct kernel_type *type, uint64_t ret[2]))
{
    metric_family(out, f, name, METRIC_COUNTER, NULL, help);
    for (size_t i = 0; i < stats->n; i++) {
        uint64_t n[2];
        counts(&stats->types[i], n);
        for (size_t k = 0; k < 2; k++)
            metric_sample(out, f, name, METRIC_COUNTER, (double)n[k], "kernel_type",
                          stats->types[i].name, label, values[k], NULL);
    }
}

static void execution_counts(const struct kernel_type *type, uint64_t ret[2])
{
    ret[0] = type->n_executed;
    ret[1] = type->n_failed;
}

static void failure_counts(const struct kernel_type *type, uint64_t ret[2])
{
    ret[0] = type->n_not_started;
    ret[1] = type->n_failed;
}

static void write_gauge(struct strbuf *out, enum metric_format f, const struct kernel_stats *stats,
                        const char *name, const char *help, bool active)
{
    metric_family(out, f, name, METRIC_GAUGE, NULL, help);
    for (size_t i = 0; i < stats->n; i++)
        metric_sample(out, f, name, METRIC_GAUGE,
                      active ? stats->types[i].active : stats->types[i].waiting, "kernel_type",
                      stats->types[i].name, NULL);
}

void kernel_type_metrics(struct strbuf *out, enum metric_format f, const struct kernel_stats *stats)
{
    static const char *const statuses[2] = {"success", "error"};
    static const char *const operations[2] = {"startup", "execute"};

    write_times(out, f, stats, "kernel_startup_time_seconds",
                "From the wish for a kernel to the kernel that is ready.", true);
    write_times(out, f, stats, "kernel_execution_time_seconds",
                "From code that was sent to its end, where it ended well.", false);
    write_pairs(out, f, stats, "kernel_execution", "Code executed, by how it ended.", "status",
                statuses, execution_counts);
    write_gauge(out, f, stats, "kernel_active",
                "Kernels that are there, those that are still starting too.", true);
    write_gauge(out, f, stats, "kernel_pool_size", "Kernels that wait ready.", false);
    write_pairs(out, f, stats, "kernel_retry",
                "Starts and executions that failed, which is when clients try again; execd itself "
                "repeats nothing.",
                "operation", operations, failure_counts);
}
