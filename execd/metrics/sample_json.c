#include "execd/metrics/sample_json.h"

#include <math.h>

#define MIB 1048576.0

/* Shown with one decimal more than clients use: 0.1 %, 0.01 MiB. */
static json_t *rounded(double value)
{
    return json_real(round(value * 100) / 100);
}

json_t *sample_to_json(const struct sample *s)
{
    /* cpu_count is an integer literal (contracts/execd.md 0.11) */
    return json_pack("{s:I, s:o, s:o, s:o, s:I}", "cpu_count", (json_int_t)s->cpu_count,
                     "cpu_used_pct", rounded(s->cpu_used_pct), "mem_total_mib",
                     rounded((double)s->mem_total / MIB), "mem_used_mib",
                     rounded((double)s->mem_used / MIB), "timestamp", (json_int_t)s->wall_ms);
}
