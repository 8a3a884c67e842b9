/*
 * Figures of kernels by type, the name of their kernelspec: what the clients of the mini sandbox count for themselves,
 * seen from here (contracts/jupyter.md 4.4).
 *
 * As there, times are those of what went well, and each failure stands in a counter of its own. Names come from the
 * sandbox's files: beyond KERNEL_TYPES_MAX, and where they are longer than a label, they share the row "other".
 * Thread rule: loop thread only.
 */
#pragma once

#include "proto/base/defs.h"

#define KERNEL_TYPES_MAX 32 /* "other" among them */
#define KERNEL_TYPE_LEN 64
#define KERNEL_TIME_BOUNDS 14

/* Upper bounds in seconds: those that Prometheus' Python client has where nobody names others. */
extern const double kernel_time_bounds[KERNEL_TIME_BOUNDS];

struct kernel_times {
    uint64_t counts[KERNEL_TIME_BOUNDS + 1]; /* each bucket's own; the last beyond every bound */
    double sum_s;
};

struct kernel_type {
    char name[KERNEL_TYPE_LEN];
    struct kernel_times starts, executions;
    uint64_t n_executed, n_failed, n_not_started;
    unsigned active, waiting; /* gauges: kernels of contexts; of the pool */
};

struct kernel_stats {
    struct kernel_type types[KERNEL_TYPES_MAX];
    size_t n;
};

/* The row of a type, made when it is new. */
struct kernel_type *kernel_stats_row(struct kernel_stats *stats, const char *type);
/* start_ns: monotonic, when it was begun. */
void kernel_stats_started(struct kernel_stats *stats, const char *type, int64_t start_ns);
/* 0: it never began. */
void kernel_stats_executed(struct kernel_stats *stats, const char *type, int64_t start_ns,
                           bool failed);
