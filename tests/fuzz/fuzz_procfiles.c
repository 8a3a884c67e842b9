/* Files of /proc and cgroupfs as the metrics read them: any text is either refused or gives finite numbers. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/metrics/cgroup_files.h"
#include "execd/metrics/procfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct sample s = {0};
    uint64_t a, b, c, d;
    struct pressure pressure;
    double value = 0;

    memcpy(text, data, size);
    text[size] = '\0';
    if (cgroup_parse_cpu_max(text, &value) == 0 && !isfinite(value))
        abort();
    if (cgroup_parse_pressure(text, &pressure) == 0 &&
        (!isfinite(pressure.some_avg10) || pressure.some_avg10 < 0 ||
         !isfinite(pressure.full_avg10)))
        abort();
    cgroup_parse_io_stat(text, &s);
    cgroup_parse_blkio(text, &a, &b);
    if (procfs_parse_stat(text, &a, &b, &c, &d) == 0 && strchr(text, ')') == NULL)
        abort();
    free(text);
    return 0;
}
