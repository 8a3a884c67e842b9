/*
 * The fallback where no cgroup tells: memory of the machine, CPU time and number of the processes that /proc shows.
 * Private to execd/metrics. Thread rule: loop thread only. Source: proc(5).
 */
#pragma once

#include "execd/metrics/sampler.h"

/* MemTotal in bytes; 0 when unreadable. */
uint64_t procfs_memory_total(void);
/* Sums utime+stime, RSS and threads over every visible process (this container's, by its pid namespace). */
void procfs_sample_processes(struct sample *s);

/* Pure: fields of one /proc/PID/stat line behind the last ')'. -EINVAL. */
int procfs_parse_stat(const char *text, uint64_t *ret_utime, uint64_t *ret_stime,
                      uint64_t *ret_threads, uint64_t *ret_rss_pages) must_check;
