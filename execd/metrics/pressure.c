#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "execd/metrics/cgroup_files.h"
#include "proto/base/fd.h"
#include "proto/base/str.h"

static const char *const names[SAMPLE_RESOURCE_MAX] = {
    [SAMPLE_RESOURCE_CPU] = "cpu",
    [SAMPLE_RESOURCE_MEMORY] = "memory",
    [SAMPLE_RESOURCE_IO] = "io",
};

const char *sample_resource_name(enum sample_resource r)
{
    return names[r];
}

/* "avg10=1.23 avg60=... total=456" of one line. */
static bool parse_line(const char *line, double *ret_avg10, uint64_t *ret_total_us)
{
    const char *avg = strstr(line, "avg10="), *total = strstr(line, "total=");
    const char *line_end = strchrnul(line, '\n');
    char *end;

    if (avg == NULL || total == NULL || avg > line_end || total > line_end)
        return false;
    double value = strtod(avg + strlen("avg10="), &end);
    if (end == avg + strlen("avg10=") || !isfinite(value) || value < 0)
        return false;
    *ret_avg10 = value;
    *ret_total_us = strtoull(total + strlen("total="), NULL, 10);
    return true;
}

int cgroup_parse_pressure(const char *text, struct pressure *ret_pressure)
{
    struct pressure p = {0};
    const char *full = strstr(text, "\nfull ");

    if (!str_starts(text, "some ") || !parse_line(text, &p.some_avg10, &p.some_total_us))
        return -EINVAL;
    p.has_some = true;
    p.has_full = full != NULL && parse_line(full + 1, &p.full_avg10, &p.full_total_us);
    *ret_pressure = p;
    return 0;
}

void cgroup_sample_pressure(const struct cgroup_dirs *d, struct sample *s)
{
    static const char *const files[SAMPLE_RESOURCE_MAX] = {
        [SAMPLE_RESOURCE_CPU] = "cpu.pressure",
        [SAMPLE_RESOURCE_MEMORY] = "memory.pressure",
        [SAMPLE_RESOURCE_IO] = "io.pressure",
    };
    struct pressure p;
    char text[512];

    if (d->fd[CGROUP_UNIFIED] < 0)
        return;
    for (size_t i = 0; i < SAMPLE_RESOURCE_MAX; i++) {
        if (fd_slurp_at(d->fd[CGROUP_UNIFIED], files[i], text, sizeof(text)) >= 0 &&
            cgroup_parse_pressure(text, &p) == 0)
            s->pressure[i] = p;
    }
}
