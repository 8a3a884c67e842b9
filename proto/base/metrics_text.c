#include "proto/base/metrics_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const type_names[][2] = {
    /* Prometheus 0.0.4, OpenMetrics 1.0 */
    [METRIC_GAUGE] = {"gauge", "gauge"},
    [METRIC_COUNTER] = {"counter", "counter"},
    [METRIC_HISTOGRAM] = {"histogram", "histogram"},
    [METRIC_INFO] = {"gauge", "info"},
};

static void add_escaped(struct strbuf *out, const char *s, bool quotes)
{
    for (; *s != '\0'; s++) {
        if (*s == '\\')
            strbuf_adds(out, "\\\\");
        else if (*s == '\n')
            strbuf_adds(out, "\\n");
        else if (*s == '"' && quotes)
            strbuf_adds(out, "\\\"");
        else
            strbuf_addc(out, *s);
    }
}

/* Names come without _total and _info. 0.0.4 has the suffix in the family's name, OpenMetrics in the sample only. */
static const char *family_suffix(enum metric_format format, enum metric_kind kind)
{
    if (format == METRIC_OPENMETRICS)
        return "";
    return kind == METRIC_COUNTER ? "_total" : kind == METRIC_INFO ? "_info" : "";
}

static const char *sample_suffix(enum metric_kind kind)
{
    return kind == METRIC_COUNTER ? "_total" : kind == METRIC_INFO ? "_info" : "";
}

void metric_family(struct strbuf *out, enum metric_format format, const char *name,
                   enum metric_kind kind, const char *unit, const char *help)
{
    const char *suffix = family_suffix(format, kind);

    strbuf_addf(out, "# HELP %s%s ", name, suffix);
    add_escaped(out, help, format == METRIC_OPENMETRICS);
    strbuf_addf(out, "\n# TYPE %s%s %s\n", name, suffix, type_names[kind][format]);
    if (format == METRIC_OPENMETRICS && unit != NULL)
        strbuf_addf(out, "# UNIT %s %s\n", name, unit);
}

static void add_value(struct strbuf *out, double value)
{
    if (isnan(value))
        strbuf_adds(out, "NaN");
    else if (isinf(value))
        strbuf_adds(out, value > 0 ? "+Inf" : "-Inf");
    else
        strbuf_addf(out, "%.15g", value);
}

void metric_sample(struct strbuf *out, enum metric_format format, const char *name,
                   enum metric_kind kind, double value, ...)
{
    va_list labels;
    const char *key;
    char sep = '{';

    (void)format; /* samples are alike in both; the parameter keeps the calls symmetrical */
    strbuf_addf(out, "%s%s", name, sample_suffix(kind));
    va_start(labels, value);
    while ((key = va_arg(labels, const char *)) != NULL) {
        const char *text = va_arg(labels, const char *);
        strbuf_addf(out, "%c%s=\"", sep, key);
        add_escaped(out, text != NULL ? text : "", true);
        strbuf_addc(out, '"');
        sep = ',';
    }
    va_end(labels);
    strbuf_adds(out, sep == ',' ? "} " : " ");
    add_value(out, value);
    strbuf_addc(out, '\n');
}

void metric_one(struct strbuf *out, enum metric_format format, const char *name,
                enum metric_kind kind, const char *unit, const char *help, double value)
{
    metric_family(out, format, name, kind, unit, help);
    metric_sample(out, format, name, kind, value, NULL);
}

/* "name_suffix{label="value"" without the closing brace. */
static void begin_sample(struct strbuf *out, const char *name, const char *suffix,
                         const char *label, const char *value)
{
    strbuf_addf(out, "%s%s{%s=\"", name, suffix, label);
    add_escaped(out, value, true);
    strbuf_addc(out, '"');
}

void metric_histogram(struct strbuf *out, const char *name, const double *bounds,
                      const uint64_t *counts, size_t n_bounds, double sum, const char *label,
                      const char *value)
{
    uint64_t total = 0;

    for (size_t i = 0; i <= n_bounds; i++) {
        total += counts[i];
        begin_sample(out, name, "_bucket", label, value);
        strbuf_adds(out, ",le=\"");
        add_value(out, i < n_bounds ? bounds[i] : INFINITY);
        strbuf_addf(out, "\"} %llu\n", (unsigned long long)total);
    }
    begin_sample(out, name, "_sum", label, value);
    strbuf_adds(out, "} ");
    add_value(out, sum);
    strbuf_addc(out, '\n');
    begin_sample(out, name, "_count", label, value);
    strbuf_addf(out, "} %llu\n", (unsigned long long)total);
}

void metric_end(struct strbuf *out, enum metric_format format)
{
    if (format == METRIC_OPENMETRICS)
        strbuf_adds(out, "# EOF\n");
}

int metric_negotiate(const char *accept)
{
    if (accept == NULL)
        return -1;
    if (strstr(accept, "application/openmetrics-text") != NULL)
        return METRIC_OPENMETRICS;
    return strstr(accept, "text/plain") != NULL ? METRIC_PROMETHEUS : -1;
}

const char *metric_content_type(enum metric_format format)
{
    return format == METRIC_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}
