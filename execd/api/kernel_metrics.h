/*
 * Kernels by type, by the names that the mini sandbox's clients and the dashboards on them have (contracts/jupyter.md 4.4):
 * kernel_startup_time_seconds, kernel_execution_time_seconds, kernel_execution_total, kernel_active, kernel_pool_size,
 * kernel_retry_total. Thread rule: loop thread only.
 */
#pragma once

#include "execd/code/kernel_stats.h"
#include "proto/base/metrics_text.h"

void kernel_type_metrics(struct strbuf *out, enum metric_format format,
                         const struct kernel_stats *stats);
