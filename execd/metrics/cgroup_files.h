/*
 * The numbers of one cgroup, read by its version's file names into a sample. Private to execd/metrics.
 *
 * Each function reads what there is and sets the bits of `has` for what it found; a missing file is no error.
 * Thread rule: loop thread only. Source: kernel cgroup-v2.rst, cgroup-v1/{memory,cpuacct,pids,blkio-controller}.rst.
 */
#pragma once

#include "execd/metrics/sampler.h"

void cgroup_sample_cpu(const struct cgroup_dirs *d, struct sample *s);
void cgroup_sample_memory(const struct cgroup_dirs *d, struct sample *s);
void cgroup_sample_pids(const struct cgroup_dirs *d, struct sample *s);
void cgroup_sample_io(const struct cgroup_dirs *d, struct sample *s);
void cgroup_sample_pressure(const struct cgroup_dirs *d, struct sample *s);

/* Pure parsers, for the tests and the fuzzer. */
/* "some avg10=1.23 avg60=... total=456", then perhaps a line "full ..."; -EINVAL. */
int cgroup_parse_pressure(const char *text, struct pressure *ret_pressure) must_check;
/* v2 io.stat: sums rbytes, wbytes, rios, wios over all devices. */
void cgroup_parse_io_stat(const char *text, struct sample *s);
/* v1 blkio.throttle.io_service_bytes / io_serviced: sums the Read and Write lines. */
void cgroup_parse_blkio(const char *text, uint64_t *ret_read, uint64_t *ret_write);
/* "100000 100000" or "max 100000" → CPUs, 0 = no limit; -EINVAL. */
int cgroup_parse_cpu_max(const char *text, double *ret_cpus) must_check;
