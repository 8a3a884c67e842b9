/*
 * The process_* families that Prometheus expects of every program: CPU time, memory, descriptors, start.
 *
 * Reads /proc/self; what is unreadable is left out. Thread rule: any thread.
 * Source: Prometheus, writing client libraries, process metrics.
 */
#pragma once

#include "proto/base/metrics_text.h"

void process_write_metrics(struct strbuf *out, enum metric_format format, int64_t started_wall_ms);
