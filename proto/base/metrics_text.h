/*
 * Metric families as text: Prometheus 0.0.4 and OpenMetrics 1.0, from a table of rows.
 *
 * Pure: families and values in, text out. Label values and help texts are escaped here.
 * Thread rule: any thread. Source: Prometheus exposition formats, OpenMetrics 1.0.
 */
#pragma once

#include "proto/base/str.h"

enum metric_format { METRIC_PROMETHEUS, METRIC_OPENMETRICS };
enum metric_kind { METRIC_GAUGE, METRIC_COUNTER, METRIC_HISTOGRAM, METRIC_INFO };

/* Writes HELP/TYPE(/UNIT) once per family. Names are given without _total and _info: the rules of each format add them. */
void metric_family(struct strbuf *out, enum metric_format format, const char *name,
                   enum metric_kind kind, const char *unit, const char *help);
/* One sample; labels as name/value pairs closed by NULL. */
void metric_sample(struct strbuf *out, enum metric_format format, const char *name,
                   enum metric_kind kind, double value, ...) sentinel_null;
/* A family with a single sample. */
void metric_one(struct strbuf *out, enum metric_format format, const char *name,
                enum metric_kind kind, const char *unit, const char *help, double value);
/* One histogram of a family: n_bounds ascending upper bounds, n_bounds + 1 counts (each bucket's own, the last beyond
 * every bound), and a label. */
void metric_histogram(struct strbuf *out, const char *name, const double *bounds,
                      const uint64_t *counts, size_t n_bounds, double sum, const char *label,
                      const char *value);
void metric_end(struct strbuf *out, enum metric_format format); /* "# EOF" for OpenMetrics */
/* What an Accept header asks for: -1 = JSON (contracts/execd.md 1.12 and design decision 14). */
int metric_negotiate(const char *accept);
const char *metric_content_type(enum metric_format format);
